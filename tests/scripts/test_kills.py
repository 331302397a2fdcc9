"""Killed at random moments (SIGKILL) and given again, a sharded merge and a sweep end as those that were left alone."""

import json
import random
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from della.checkpoint import MemoryCheckpoint
from della.folder import write_weights
from della.headers import SafetensorsFile
from della.wandb_file import contents
from tests.scripts.test_sweep import PICO, TABLE, command_line, descendants, outcomes

SHAPES = {f"model.layers.{layer}.mlp.{part}_proj.weight": (512, 640) for layer in range(20) for part in ("up", "down")}
SHAPES |= {"model.embed_tokens.weight": (2000, 512), "model.norm.weight": (512,)}
CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "torch_dtype": "bfloat16"}
OPTIONS = ("method=della", "method.drop_rate=0.6", "method.epsilon=0.3", "seed=5", "threads=3", "max_shard_gb=0.0007")


@pytest.fixture(scope="module")
def named(tmp_path_factory) -> list[str]:
    """14 million parameters, base and three experts, in bfloat16: the merge has some forty shards."""
    root, chance = tmp_path_factory.mktemp("models"), np.random.default_rng(0)
    base = {name: chance.standard_normal(shape, np.float32) for name, shape in SHAPES.items()}
    for model in ("base", "code", "lm", "math"):
        (root / model).mkdir()
        (root / model / "config.json").write_text(json.dumps(CONFIG))
        scale = 0 if model == "base" else 0.1
        values = {name: w + scale * chance.standard_normal(w.shape, np.float32) for name, w in base.items()}
        halves = {name: (w.view(np.uint32) >> 16).astype(np.uint16) for name, w in values.items()}
        write_weights(root / model, MemoryCheckpoint(halves))
    return [f"experts.base={root / 'base'}", *(f"experts.models.{e}={root / e}" for e in ("code", "lm", "math"))]


@pytest.fixture
def whole(start, named, tmp_path) -> tuple[Path, float]:
    """The merge that nobody disturbs, and how long it took."""
    for _ in range(2):  # the first one compiles kernels and hashes inputs
        shutil.rmtree(tmp_path / "whole", ignore_errors=True)
        began = time.monotonic()
        process = start("merge", *named, *OPTIONS, f"out={tmp_path / 'whole'}")
        _, complained = process.communicate(timeout=300)
        assert process.returncode == 0, complained
    assert len(list((tmp_path / "whole").glob("*.safetensors"))) > 30
    return tmp_path / "whole", time.monotonic() - began


@pytest.mark.parametrize("kills", [4, pytest.param(100, marks=[pytest.mark.full, pytest.mark.timeout(3000)])])
def test_killed_at_random_moments_and_given_again_a_merge_ends_with_the_same_bytes(
    start, named, whole, tmp_path, kills
):
    """Every second kill comes at any moment, the others soon after one more shard was whole."""
    expected, seconds = whole
    out, chance = tmp_path / "out", random.Random(kills)
    left, resumed, ended = kills, 0, False
    while not ended:
        process = start("merge", *named, *OPTIONS, f"out={out}")
        if not left:  # this one is left alone
            process.wait(300)
        elif left % 2:
            time.sleep(chance.uniform(0, 1.1) * seconds)
        else:
            wait_for_a_shard(process, out)
            time.sleep(chance.uniform(0, 0.3) * seconds)
        ended = process.poll() is not None
        process.kill()
        complained = process.communicate()[1]
        resumed += "going on with a merge that was stopped" in complained
        same_so_far(out, expected)
        if ended:
            assert process.returncode == 0, complained
            assert out.exists()
            ended = not left
        else:
            left -= 1
        if out.exists():  # killed or not: some are killed when all is done
            shutil.rmtree(out)
    assert resumed >= kills // 4
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".out")]


def shards(out: Path) -> list[Path]:
    """Whole ones of a merge that has not ended."""
    return list((out.parent / f".{out.name}.merging" / "files").glob("*.safetensors"))


def wait_for_a_shard(process: subprocess.Popen, out: Path) -> None:
    """Until one more is whole than when this began, or nothing runs any more."""
    before = len(shards(out))
    while len(shards(out)) <= before and process.poll() is None:
        time.sleep(0.005)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def same_so_far(out: Path, expected: Path) -> None:
    """Where `out` is there it is whole; what has a weight file's name in the working folder is whole too."""
    if out.exists():
        assert files(out) == files(expected)
    for path in shards(out):
        assert SafetensorsFile(path).headers
        assert path.read_bytes() == (expected / path.name).read_bytes(), path.name


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=[pytest.mark.full, pytest.mark.timeout(3600)])])
def test_killed_at_random_moments_and_given_again_a_sweep_ends_with_the_same_records_and_readable_wandb_files(
    call, start, work, pico, tmp_path, kills
):
    """In one process and in two; every second kill comes soon after one more record, the others at any moment.

    A sweep that ended in spite of it is begun again from nothing.
    """
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "experts").symlink_to(pico.folder.parent)
    assert call("run", *PICO, *TABLE, f"paths.work={tmp_path / 'alone'}").code == 0
    expected = outcomes(tmp_path / "alone")
    chance, boot, left = random.Random(kills), 10.0, kills
    while left:
        processes = ["-m", "workers=2"] if left % 3 == 0 else []
        command = start("run", *PICO, *TABLE, "tracking=wandb", *processes, f"paths.work={work}")
        began = time.monotonic()
        if left % 2:
            boot = wait_for_a_record(command, work) or boot
            time.sleep(chance.uniform(0, 1))
        else:
            time.sleep(chance.uniform(0, 1.5) * boot)
        if kill(command):
            left -= 1
        assert outcomes(work).items() <= expected.items(), time.monotonic() - began
        if len(outcomes(work)) == len(expected) and left:
            shutil.rmtree(work / "records")
            shutil.rmtree(work / "wandb", ignore_errors=True)
    ended = call("run", *PICO, *TABLE, "tracking=wandb", f"paths.work={work}")
    assert ended.code == 0, ended.err
    assert outcomes(work) == expected
    mirrored = {file.stem.removeprefix("run-"): contents(file) for file in (work / "wandb").rglob("run-*.wandb")}
    assert mirrored.keys() == expected.keys()
    assert len(list((work / "wandb").rglob("run-*.wandb"))) == len(expected)
    assert {shown["exit_code"] for shown in mirrored.values()} == {0}
    assert {shown["run"].run_group for shown in mirrored.values()} == {"main_table"}


def wait_for_a_record(command: subprocess.Popen, work: Path) -> float | None:
    """Seconds until one more is there than when this began; None if the command ended before."""
    began, before = time.monotonic(), len(list((work / "records").glob("*.json")))
    while len(list((work / "records").glob("*.json"))) <= before:
        if command.poll() is not None:
            return None
        time.sleep(0.005)
    return time.monotonic() - began


def kill(command: subprocess.Popen) -> bool:
    """SIGKILL for the command alone; what it started must end by itself. False if it had ended before."""
    ended, others = command.poll() is not None, descendants(command.pid)
    command.kill()
    complained = command.communicate()[1]
    assert not ended or command.returncode == 0, complained
    deadline = time.monotonic() + 20
    while left := [line for pid in others if (line := command_line(pid))]:
        assert time.monotonic() < deadline, left
        time.sleep(0.02)
    return not ended
