"""One measurement of an engine, in a process of its own; prints JSON.

    python -m scripts.timing.engine_run '{"case": "throughput", "engine": "vllm", "folder": DIR, ...}'

throughput: seconds of generating a number of prompts at so many a time, after as many unmeasured ones. swap: medians of
swaps of each kind in a running engine, and of opening another one. restart: opens and answers one prompt; the process's
own wall time is the measurement. agreement: the same prompts by both engines, and the gap of every difference.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Asked = dict[str, Any]
REPEATS = 3


def main(asked: Asked) -> dict[str, Any]:
    prompts = json.loads(Path(asked["file"]).read_text())
    return {"throughput": throughput, "swap": swap, "restart": restart, "agreement": agreement}[asked["case"]](
        asked, prompts
    )


def open_one(asked: Asked, engine: str | None = None):
    """The engine, with as many answers at a time as asked for."""
    from eval.engines import open_engine

    name = engine or asked["engine"]
    batch = {"vllm": "max_num_seqs", "hf": "batch_size"}[name]
    settings = {batch: asked["batch"]} if asked["batch"] else {}
    return open_engine(name, asked["folder"], **settings)


def throughput(asked: Asked, prompts: list[list[int]]) -> dict[str, float]:
    count, limit = asked["prompts"], asked["new_tokens"]
    engine = open_one(asked)
    chosen = [prompts[index % len(prompts)] for index in range(count)]
    engine.generate(chosen, [limit] * count, ())
    seconds, tokens = [], 0
    for _ in range(REPEATS):
        took, answers = clock(lambda: engine.generate(chosen, [limit] * count, ()))
        seconds.append(took)
        tokens = sum(map(len, answers))
    engine.close()
    median = statistics.median(seconds)
    return {"seconds": median, "prompts_per_s": count / median, "tokens_per_s": tokens / median}


def swap(asked: Asked, prompts: list[list[int]]) -> dict[str, float]:
    """Milliseconds but for opening, which is in seconds; each kind swaps between two models."""
    from safetensors.torch import load_file

    folders = [Path(asked["other"]), Path(asked["folder"])]
    tensors = [load_all(folder, load_file) for folder in folders]
    engine = open_one(asked)
    engine.generate(prompts[:1], [4], ())
    found = {}
    for name, given, checksum in (
        ("full", tensors, "full"),
        ("sample", tensors, "sample"),
        ("none", tensors, "none"),
        ("folder", folders, "full"),
    ):
        engine.settings.checksum = checksum
        times = [clock(lambda: engine.swap(given[number % 2]))[0] for number in range(asked["swaps"])]  # noqa: B023
        found[name] = 1e3 * statistics.median(times)
    engine.close()
    took, engine = clock(lambda: open_one(asked))
    found["reopen"] = took + clock(lambda: engine.generate(prompts[:1], [4], ()))[0]
    engine.close()
    return found


def load_all(folder: Path, load_file: Callable[[Path], dict]) -> dict:
    """A whole state dict."""
    return {name: tensor for file in sorted(folder.glob("*.safetensors")) for name, tensor in load_file(file).items()}


def restart(asked: Asked, prompts: list[list[int]]) -> dict[str, float]:
    took, engine = clock(lambda: open_one(asked))
    answering = clock(lambda: engine.generate(prompts[:1], [4], ()))[0]
    engine.close()
    return {"open": took, "answer": answering}


def agreement(asked: Asked, prompts: list[list[int]]) -> dict[str, Any]:
    from eval.engines.agreement import differences, measure_gap

    limits = [asked["new_tokens"]] * len(prompts)
    answers = []
    for name in ("vllm", "hf"):
        engine = open_one(asked, name)
        answers.append(engine.generate(prompts, limits, ()))
        engine.close()
    found = differences(answers[0], answers[1], eos=engine.eos_ids[0])
    gaps = [measure_gap(Path(asked["folder"]), prompts[one.prompt], one) for one in found]
    return {
        "prompts": len(prompts),
        "same": len(prompts) - len(found),
        "gaps": [{"gap": one.gap, "error": one.error, "is_tie": one.is_tie} for one in gaps],
    }


def clock(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds, and what came out."""
    started = time.perf_counter()
    result = call()
    return time.perf_counter() - started, result


if __name__ == "__main__":
    print("\n" + json.dumps(main(json.loads(sys.argv[1]))), flush=True)
