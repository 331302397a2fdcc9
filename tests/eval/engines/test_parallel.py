"""A model split over two worker processes: the same answers, weights swapped by folder, checked in both."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from eval.engines import open_engine
from tests.eval.engines.models import make_model

ROOT = Path(__file__).resolve().parents[3]
# In a process of its own: vLLM sets the environment of its workers up for good.
PROGRAM = """
import json, sys
from pathlib import Path
from eval.engines import open_engine
from eval.errors import InputError

def main():
    one, two, split = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[4])
    prompts = json.loads(Path(sys.argv[3]).read_text())
    engine = open_engine("vllm", one, tensor_parallel_size=split, max_num_seqs=16)
    def ask():
        ids = [engine.lm.encode(text) for text in prompts]
        return engine.generate(ids, [12] * len(ids), ())
    before = ask()
    checksum = engine.swap(two)
    swapped = ask()
    try:
        engine.swap({})
        refused = "no"
    except TypeError as error:
        refused = str(error)
    pieces = sorted({(p["name"], *p["rows"], *p["columns"]) for p in engine.held("full")})
    engine.close()
    print(json.dumps([before, swapped, checksum, refused, pieces]), flush=True)

if __name__ == "__main__":
    main()
"""


def split_in_two(first: Path, second: Path, prompts: list[str], folder: Path) -> list:
    (folder / "prompts.json").write_text(json.dumps(prompts))
    (folder / "program.py").write_text(PROGRAM)
    command = [sys.executable, str(folder / "program.py"), str(first), str(second), str(folder / "prompts.json"), "2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=550)
    assert ended.returncode == 0, ended.stderr[-4000:]
    return json.loads(ended.stdout.splitlines()[-1])


@pytest.mark.full
@pytest.mark.parametrize("heads", [(2, 1), (4, 2)], ids=["shared keys", "own keys"])
def test_a_model_split_over_two_workers_answers_and_swaps_like_a_whole_one(heads, prompts, ask, tmp_path):
    """heads: of queries, and of keys and values; one head of keys for both workers is held by both."""
    if importlib.util.find_spec("vllm") is None or (torch.cuda.is_available() and torch.cuda.device_count() < 2):
        pytest.skip("needs vLLM for the CPU, or two GPUs")
    one = make_model(tmp_path / "one", seed=1, tied=False, heads=heads)
    two = make_model(tmp_path / "two", seed=2, tied=False, heads=heads)
    before, swapped, checksum, refused, pieces = split_in_two(one, two, prompts[:40], tmp_path)
    for folder, found in ((one, before), (two, swapped)):
        engine = open_engine("hf", folder)
        ids = [engine.lm.encode(text) for text in prompts[:40]]
        expected = engine.generate(ids, [12] * len(ids), ())
        engine.close()
        assert sum(a == b for a, b in zip(found, expected, strict=True)) >= 39
    assert len(checksum) == 64
    assert "swap(folder)" in refused
    width = 32 * heads[0]
    q = [tuple(piece[1:]) for piece in pieces if piece[0] == "model.layers.0.self_attn.q_proj.weight"]
    assert q == [(0, width // 2, 0, width), (width // 2, width, 0, width)]
    down = [tuple(piece[1:]) for piece in pieces if piece[0] == "model.layers.0.mlp.down_proj.weight"]
    assert down == [(0, width, 0, 48), (0, width, 48, 96)]
    k = [tuple(piece[1:]) for piece in pieces if piece[0] == "model.layers.0.self_attn.k_proj.weight"]
    assert k == [(0, 32, 0, width)] if heads[1] == 1 else [(0, 32, 0, width), (32, 64, 0, width)]
