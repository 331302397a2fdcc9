"""vLLM opens in a process that has numba loaded; without what heals llvmlite it does not (vLLM 0.32, CPU)."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from eval.engines.vllm import heal_llvmlite

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import sys
import numba
numba.njit(lambda x: x + 1)(1)
from eval.engines import open_engine
from eval.engines import vllm as engine
if sys.argv[2] == "ill":
    engine.heal_llvmlite = lambda: None
opened = open_engine("vllm", sys.argv[1])
print(opened.generate([[5, 6, 7]], [2], ()), flush=True)
opened.close()
"""


def run(pico, state):
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    command = [sys.executable, "-c", PROGRAM, str(pico), state]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


def test_the_library_object_of_llvmlite_has_no_dict_afterwards_and_still_serves_functions():
    from llvmlite.binding import ffi

    heal_llvmlite()
    heal_llvmlite()
    with pytest.raises(TypeError):
        vars(ffi.lib)
    assert not hasattr(ffi.lib, "__wrapped__")
    assert ffi.lib.LLVMPY_GetVersionInfo() > 0


def test_vllm_opens_where_numba_is_loaded(pico):
    ended = run(pico, "healed")
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert ended.stdout.startswith("[[")


@pytest.mark.full
def test_without_it_vllm_does_not_open(pico):
    """If this fails, vLLM or llvmlite was mended: heal_llvmlite can go."""
    ended = run(pico, "ill")
    assert ended.returncode != 0
    assert "AttributeError" in ended.stderr
