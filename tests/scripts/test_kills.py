"""A sharded merge killed at random moments (SIGKILL) and given again ends with the bytes of one that was left alone."""

import json
import random
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from della.checkpoint import MemoryCheckpoint
from della.folder import write_weights
from della.headers import SafetensorsFile

SHAPES = {f"model.layers.{layer}.mlp.{part}_proj.weight": (512, 640) for layer in range(20) for part in ("up", "down")}
SHAPES |= {"model.embed_tokens.weight": (2000, 512), "model.norm.weight": (512,)}
CONFIG = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "torch_dtype": "bfloat16"}
OPTIONS = ("method=della", "method.drop_rate=0.6", "method.epsilon=0.3", "seed=5", "threads=1", "max_shard_gb=0.0007")


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
    expected, seconds = whole
    out, chance = tmp_path / "out", random.Random(kills)
    left, resumed, stretch, last = kills, 0, 1.0, False
    enough = max(1, kills // 25)  # of the kills have to come after the first whole shard: their merges are taken up
    while not last:
        last = not left  # this one is left alone
        process = start("merge", *named, *OPTIONS, f"out={out}")
        if not last:
            time.sleep(chance.uniform(0.6, 1.1) * seconds * stretch)
        else:
            process.wait(300)
        killed = process.poll() is None
        process.kill()
        complained = process.communicate()[1]
        resumed += "going on with a merge that was stopped" in complained
        same_so_far(out, expected)
        if killed:
            left = max(int(resumed < enough), left - 1)
            stretch = min(3.0, stretch * 1.004)  # a machine that has grown busier must come to an end too
        else:
            assert process.returncode == 0, complained
            assert out.exists()
        if out.exists():  # killed or not: some are killed when all is done
            shutil.rmtree(out)
    assert resumed >= enough
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".out")]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def same_so_far(out: Path, expected: Path) -> None:
    """Where `out` is there it is whole; what has a weight file's name in the working folder is whole too."""
    if out.exists():
        assert files(out) == files(expected)
    for path in (out.parent / f".{out.name}.merging" / "files").glob("*.safetensors"):
        assert SafetensorsFile(path).headers
        assert path.read_bytes() == (expected / path.name).read_bytes(), path.name
