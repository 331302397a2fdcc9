"""Runs the papers' released evaluation code on the benchmarks and keeps hashes of what it shows and reads.

    DELLA_DATA_DIR=DIR python tests/eval/tasks/released_side.py DELLA MERGELM > tests/eval/tasks/released.json

DELLA and MERGELM are checkouts of declare-lab/della at 8067515 and yule-BUAA/MergeLM at 6d49ad9; nothing of them is in
this repository. Their own functions run (test_mbpp, test_alpaca_eval, test_gsm8k, test_human_eval and what these call),
with their models replaced by a recorder that answers from ANSWERS, and their imports of torch, vllm, transformers and
others by stand-ins. DELLA's GSM8K prompts come from its YAML, rendered by lm-eval, as it tells its users to do.

Of each benchmark the prompts of the first 20 and of 20 random documents are kept one by one, and all of them together.
"""

from __future__ import annotations

import fractions
import gzip
import hashlib
import json
import logging
import os
import random
import sys
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

PIECES = (
    *("```python", "```", "\n```", "\r\n", "\t", "    ", "x = 1", "def f():\n    return 1", "\n", " "),
    *('if __name__ == "__main__":', '__name__ == "__main__"', "# Example usage", "# Test examples", "### Response:"),
    *("The solution is:", "The answer is:", "\n\nThe answer is:"),
)
DIGITS = (*"0123456789012345678900.,/-+$ %", " x", "\n", "The answer is: ", "1,319", "29.00", "3/4", "١")


def answers() -> list[str]:
    """Code answers with what the released cleaning looks for, in every order: 500, always the same."""
    draw = random.Random(0)
    return ["".join(draw.choices(PIECES, k=draw.randrange(9))) for _ in range(500)]


def numbers() -> list[str]:
    """Answers with numbers of every kind, some without the sentence that MergeLM looks for: 2,000, always the same."""
    draw = random.Random(0)
    starts = ("The answer is: ", "so The answer is: 7. The answer is: ", "The answer is:", "")
    return [draw.choice(starts) + "".join(draw.choices(DIGITS, k=draw.randrange(9))) for _ in range(2000)]


def some(ids: list[str]) -> list[str]:
    """The first 20 ids and 20 random others."""
    return [*ids[:20], *sorted(random.Random(0).sample(ids[20:], 20), key=ids.index)]


def sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


class Anything:
    """Stands for whatever the released code imports and this run does not need."""

    def __getattr__(self, name: str) -> Any:
        return Anything()

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return Anything()

    def __getitem__(self, key: Any) -> Any:
        return Anything()

    def __len__(self) -> int:
        return 0

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: Any) -> None:
        return None


class Recorder:
    """Takes the place of a model: keeps the prompts, answers from a list."""

    def __init__(self) -> None:
        self.prompts: list[str] = []
        self.sampling: dict = {}

    def answer(self, prompts: list[str]) -> list[str]:
        self.prompts += prompts
        return [ANSWERS[len(self.prompts) - 1] for _ in prompts]  # one prompt at a time, in both repositories

    def generate(self, prompts: list[str], sampling: SimpleNamespace) -> list:
        self.sampling = vars(sampling)
        if len(prompts) > 1:  # GSM8K's batches, whose answers are not looked at here
            self.prompts += prompts
            return [SimpleNamespace(outputs=[SimpleNamespace(text="")]) for _ in prompts]
        return [SimpleNamespace(outputs=[SimpleNamespace(text=text)]) for text in self.answer(prompts)]


ANSWERS = [*answers(), *answers()]


def read_lines(path: str | Path) -> list[dict]:
    raw = Path(path).read_bytes()
    text = (gzip.decompress(raw) if str(path).endswith(".gz") else raw).decode()
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def stand_in(name: str, **names: Any) -> None:
    module = ModuleType(name)
    module.__dict__.update(names, __getattr__=lambda attribute: Anything())
    sys.modules[name] = module


def load(path: Path, name: str) -> ModuleType:
    """A released file as a module, without what it does when it is started."""
    module = ModuleType(name)
    text = path.read_text(encoding="utf-8").partition('\nif __name__ == "__main__":')[0]
    module.__dict__["__getattr__"] = lambda attribute: Anything()
    sys.modules[name] = module
    exec(compile(text, str(path), "exec"), module.__dict__)
    return module


class Lines(list):
    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *error: Any) -> None:
        return None


def install(data: Path) -> None:
    """The stand-ins, with the benchmarks' files behind the readers that the released code calls."""
    instructions = json.loads((data / "alpaca_eval" / "text_davinci_003_outputs.json").read_text(encoding="utf-8"))
    problems = {row["task_id"]: row for row in read_lines(data / "human_eval" / "HumanEval.jsonl.gz")}

    def write(path: str, rows: list[dict]) -> None:
        Path(path).write_text("".join(json.dumps(row) + "\n" for row in rows))

    for name in ("transformers", "model_merging_methods.mask_weights_utils", "utils.utils", "lm_eval.models.utils"):
        if "." in name:
            stand_in(name.rpartition(".")[0])
        stand_in(name)
    stand_in("utils.load_config", cache_dir="")
    stand_in("torch", no_grad=Anything)
    stand_in("vllm", SamplingParams=SimpleNamespace)
    stand_in("datasets", load_dataset=lambda path, name, cache_dir=None: {"eval": instructions})
    stand_in("human_eval.data", write_jsonl=write, stream_jsonl=read_lines, read_problems=lambda: problems)
    stand_in("jsonlines", open=lambda path, mode: Lines(read_lines(path)), Reader=lambda file: map(json.loads, file))
    stand_in("tqdm", tqdm=lambda rows, **settings: rows)
    stand_in("fraction", Fraction=fractions.Fraction)


def run_della(checkout: Path, data: Path, folder: Path) -> dict:
    """Benchmark -> (prompts, sampling), and how MBPP's answers were cleaned."""
    from lm_eval.utils import apply_template

    task = read_yaml(checkout / "lm_eval_task_config" / "gsm8k_cot_zeroshot_alpaca.yaml")
    settings = task["generation_kwargs"]
    sampling = {
        "stop": settings["until"],
        "max_tokens": settings["max_gen_toks"],
        "temperature": int(settings["do_sample"]),
    }
    gsm8k = [apply_template(task["doc_to_text"], row) for row in read_lines(data / "gsm8k" / "test.jsonl")]
    install(data)
    load(checkout / "utils" / "evaluate_llms_utils.py", "utils.evaluate_llms_utils")
    released = load(checkout / "generate.py", "generate")
    code, chat, log = Recorder(), Recorder(), logging.getLogger("released")
    code.sampling, chat.sampling = (
        asked_of_the_model(released, released.batch_response_gen),
        asked_of_the_model(released, released.batch_response_gen_stop),
    )
    released.batch_response_gen, released.batch_response_gen_stop = code.answer, chat.answer
    released.cache_dir = ""
    released.test_mbpp(None, str(folder / "mbpp.jsonl"), log, save_gen_results_folder=str(folder / "della"))
    released.test_alpaca_eval(None, "merged-13b", log, save_gen_results_folder=str(folder / "chat"))
    cleaned = [kept[0] for kept in json.loads((folder / "della.jsonl").read_text())]
    found = {"gsm8k": (gsm8k, sampling), "mbpp": (code.prompts, code.sampling)}
    return found | {"alpaca_eval": (chat.prompts, chat.sampling), "mbpp_code": cleaned}


def asked_of_the_model(released: ModuleType, generate: Any) -> dict:
    """What one of generate.py's two functions passes to its model, and the stop strings that it watches for."""
    seen: dict[str, Any] = {}

    def keep(max_new_tokens: int, do_sample: bool, **others: Any) -> Anything:
        seen.update(max_tokens=max_new_tokens, temperature=int(do_sample))
        return Anything()

    released.tokenizer, released.model = Anything(), SimpleNamespace(generate=keep, device="cpu")
    released.stop_sequences_criteria = lambda tokenizer, stops, *shape: seen.update(stop=stops)
    generate([""])
    return seen


def run_mergelm(checkout: Path, data: Path, folder: Path) -> dict:
    """As run_della, with HumanEval, and how numbers were read."""
    install(data)
    parsers = load(checkout / "utils" / "evaluate_llms_utils.py", "utils.evaluate_llms_utils")
    released = load(checkout / "inference_llms_instruct_math_code.py", "inference")
    arguments, log = SimpleNamespace(start_index=0), logging.getLogger("released")
    lms = {name: Recorder() for name in ("gsm8k", "mbpp", "alpaca_eval", "humaneval")}
    (folder / "gsm8k.jsonl").write_bytes((data / "gsm8k" / "test.jsonl").read_bytes())  # it opens its file to write
    released.test_gsm8k(lms["gsm8k"], str(folder / "gsm8k.jsonl"), arguments, log)
    place = str(folder / "dare")
    released.test_mbpp(lms["mbpp"], str(folder / "mbpp.jsonl"), arguments, log, save_gen_results_folder=place)
    mbpp = [kept[0] for kept in json.loads((folder / "dare.jsonl").read_text())]
    released.test_human_eval(lms["humaneval"], arguments, log, save_gen_results_folder=place)
    by_id = {row["task_id"]: row["completion"] for row in read_lines(folder / "dare.jsonl")}
    released.test_alpaca_eval(lms["alpaca_eval"], "merged-13b", arguments, log, save_gen_results_folder=place)
    found = {name: (lm.prompts, lm.sampling) for name, lm in lms.items()}
    values = [parsed(parsers.extract_answer_number, text) for text in numbers()]
    return found | {"mbpp_code": mbpp, "humaneval_code": [by_id[key] for key in sorted(by_id)], "numbers": values}


def parsed(parser: Any, text: str) -> int | None:
    """None also where the released parser stops with an error (a divisor of 00)."""
    try:
        return parser(text)
    except ZeroDivisionError:
        return None


def read_yaml(path: Path) -> dict:
    import yaml

    return yaml.safe_load(path.read_text(encoding="utf-8"))


def main(della: Path, mergelm: Path, data: Path) -> None:
    mbpp = [row for row in read_lines(data / "mbpp" / "mbpp.jsonl") if 11 <= row["task_id"] <= 510]
    ids = {
        "gsm8k": [str(row) for row in range(1319)],
        "mbpp": [str(row["task_id"]) for row in mbpp],
        "alpaca_eval": [str(row) for row in range(805)],
        "humaneval": [f"HumanEval/{row}" for row in range(164)],
    }
    kept: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "mbpp.jsonl").write_text("".join(json.dumps(row) + "\n" for row in mbpp))
        for protocol, found in (
            ("della", run_della(della, data, folder)),
            ("dare", run_mergelm(mergelm, data, folder)),
        ):
            for key, value in found.items():
                if key in ids:
                    asked = sorted(ids[key]) if key == "humaneval" else ids[key]  # the order of the released code
                    prompts = dict(zip(asked, value[0], strict=True))
                    each = {chosen: hashlib.sha256(prompts[chosen].encode()).hexdigest() for chosen in some(ids[key])}
                    kept[f"{protocol}/{key}"] = {
                        "sampling": value[1],
                        "all": sha256([prompts[i] for i in ids[key]]),
                        "each": each,
                    }
                else:
                    kept[f"{protocol}/{key}"] = sha256(value)
    print(json.dumps(kept, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(os.environ["DELLA_DATA_DIR"]))
