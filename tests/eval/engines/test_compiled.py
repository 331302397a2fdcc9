"""A compiled model keeps nothing of the weights it was compiled with: swaps under enforce_eager=false."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from eval.errors import InputError

ROOT = Path(__file__).resolve().parents[3]

# In a process of its own: whether anything is compiled is decided when torch and vLLM are imported.
PROGRAM = """
import json, sys
from pathlib import Path
from types import SimpleNamespace
from safetensors.torch import load_file
from eval.engines import open_engine

model, other, prompts = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
settings = {"until": (), "max_gen_toks": 12}
engine = open_engine("vllm", model, dtype="float32", enforce_eager=False)
ask = lambda: engine.lm.generate_until([SimpleNamespace(args=(text, settings)) for text in prompts])
answers = [ask()]
for folder in (other, model):
    engine.swap(load_file(folder / "model.safetensors"))
    answers.append(ask())
print(json.dumps(answers))
"""


@pytest.mark.full
@pytest.mark.skipif(importlib.util.find_spec("vllm") is None, reason="vLLM is not installed")
def test_weights_swapped_into_a_compiled_model_answer_like_fresh_ones(pico, other_pico, prompts, ask):
    """There and back; fresh answers are those of uncompiled engines, from which a compiled one may differ by a tie."""
    from eval.engines import open_engine

    fresh = []
    for folder in (pico, other_pico):
        engine = open_engine("vllm", folder, dtype="float32")
        fresh.append(ask(engine, prompts))
        engine.close()
    command = [sys.executable, "-c", PROGRAM, str(pico), str(other_pico), json.dumps(prompts)]
    environment = {name: value for name, value in os.environ.items() if name != "TORCHDYNAMO_DISABLE"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    before, swapped, back = json.loads(done.stdout.splitlines()[-1])
    assert before == back
    assert sum(a == b for a, b in zip(before, fresh[0], strict=True)) >= 99
    assert sum(a == b for a, b in zip(swapped, fresh[1], strict=True)) >= 99


def test_a_variable_that_forbids_compiling_is_told(monkeypatch):
    from eval.engines.vllm import prepare_environment

    monkeypatch.setenv("TORCHDYNAMO_DISABLE", "1")
    with pytest.raises(InputError, match="enforce_eager=false: TORCHDYNAMO_DISABLE is set"):
        prepare_environment(eager=False)
