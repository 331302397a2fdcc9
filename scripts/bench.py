"""Merging, ours beside mergekit: wall time of the whole process, the same files, runs interleaved, medians of ratios.

    python -m scripts.bench                       # a random Llama of 7 million parameters: mostly start-up
    python -m scripts.bench width=1024 layers=8 rounds=5   # a larger one

mergekit runs from its own environment (`make peers`). Both read from and write to paths.work; the first, unmeasured
round warms the page cache.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from della.errors import InputError
from della.files import write_atomically
from scripts.door import door
from scripts.schema import BenchConfig

MERGEKIT = Path(os.environ.get("DELLA_MERGEKIT", ".venv-mergekit/bin/mergekit-yaml"))
# Ours -> mergekit's name of the same method; its density is 1 - drop_rate, its epsilon half of ours.
CASES = {
    "average": ("linear", {}),
    "task_arithmetic": ("task_arithmetic", {}),
    "ties": ("ties", {"density": 0.5}),
    "dare_ties": ("dare_ties", {"density": 0.5}),
    "della": ("della", {"density": 0.5, "epsilon": 0.07}),
}
OURS = {"ties": ["method.drop_rate=0.5"], "dare_ties": ["method.drop_rate=0.5"]}
EXPERTS = ("code", "lm", "math")


def make_models(folder: Path, width: int, layers: int) -> int:
    """A random Llama and three experts near it, bfloat16. Returns the number of parameters."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=8000, hidden_size=width, intermediate_size=11 * width // 4, num_hidden_layers=layers,
        num_attention_heads=width // 64, max_position_embeddings=512, tie_word_embeddings=False,
    )  # fmt: skip
    model = LlamaForCausalLM(config).bfloat16()
    model.save_pretrained(folder / "base")
    for name in EXPERTS:
        for parameter in model.parameters():
            parameter.data += 0.002 * torch.randn_like(parameter)
        model.save_pretrained(folder / name)
    return sum(parameter.numel() for parameter in model.parameters())


def mergekit_command(folder: Path, name: str, out: Path) -> list[str]:
    """The command that merges with mergekit; its configuration is written beside the output."""
    method, options = CASES[name]
    models = [{"model": str(folder / e), "parameters": {"weight": 1.0, **options}} for e in EXPERTS]
    config: dict[str, Any] = {"merge_method": method, "models": models, "dtype": "bfloat16"}
    if name == "average":
        config["parameters"] = {"normalize": True}
    else:
        config |= {"base_model": str(folder / "base")}
    path = out.with_suffix(".yml")
    path.write_text(yaml.safe_dump(config))
    return [str(MERGEKIT), str(path), str(out), "--no-write-model-card", "--random-seed", "1"]


def our_command(folder: Path, name: str, out: Path) -> list[str]:
    """The command that merges with this repository."""
    models = [f"experts.models.{e}={folder / e}" for e in EXPERTS]
    options = [f"method={name}", *OURS.get(name, [])]
    return [sys.executable, "-m", "scripts.merge", f"experts.base={folder / 'base'}", *models, *options, f"out={out}"]


def timed(command: list[str], out: Path) -> float:
    """Wall seconds of a command, its output removed before. Raises InputError with its last line if it fails."""
    shutil.rmtree(out, ignore_errors=True)
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise InputError(f"{command[0]} failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")
    return time.perf_counter() - started


@door("bench")
def main(config: BenchConfig) -> None:
    if not MERGEKIT.is_file():
        raise InputError(f"{MERGEKIT}: no mergekit there; run `make peers`")
    folder = (Path(config.work) / "bench" / f"llama-{config.width}-{config.layers}").absolute()
    shutil.rmtree(folder, ignore_errors=True)
    parameters = make_models(folder, config.width, config.layers)
    title = (
        f"{parameters / 1e6:.0f} million parameters, base and {len(EXPERTS)} experts, bfloat16, {config.rounds} rounds"
    )
    rows = [title, f"{'method':<16} {'ours s':>8} {'mergekit s':>11} {'mergekit / ours':>16}"]
    print("\n".join(rows), flush=True)
    for name in CASES:
        pairs = []
        for turn in range(config.rounds + 1):
            ours = timed(our_command(folder, name, folder / "ours"), folder / "ours")
            theirs = timed(mergekit_command(folder, name, folder / "theirs"), folder / "theirs")
            if turn:
                pairs.append((ours, theirs))
        ratio = statistics.median(theirs / ours for ours, theirs in pairs)
        medians = [statistics.median(column) for column in zip(*pairs, strict=True)]
        rows.append(f"{name:<16} {medians[0]:>8.2f} {medians[1]:>11.2f} {ratio:>16.2f}")
        print(rows[-1], flush=True)
    write_atomically(Path(config.results) / "bench.txt", ("\n".join(rows) + "\n").encode())
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
