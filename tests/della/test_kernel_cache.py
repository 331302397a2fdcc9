"""Compiled kernels on the disk: what one process keeps is never taken for something else by another."""

import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
from numba.core.registry import CPUDispatcher

import della.kernels
from della.kernels import CompiledFiles

ROOT = Path(__file__).resolve().parents[2]
# Elected means and sums of 2, 3 and 4 experts are closures of one function: 1, 2, 3, 4 where all agree on +.
MERGES = """
import torch
from della.checkpoint import MemoryCheckpoint
from della.merge import merge_tensors
from della.methods import make_method

base = MemoryCheckpoint({"w": torch.zeros(50)})
for count, total in ((2, 3.0), (3, 6.0), (4, 10.0)):
    experts = {f"e{n}": MemoryCheckpoint({"w": torch.full((50,), float(n))}) for n in range(1, count + 1)}
    for fuse, value in (("mean", total / count), ("sum", total)):
        (part,) = merge_tensors(base, experts, make_method("ta_elect", fuse=fuse), None)
        assert part.tensor.tolist() == [value] * 50, (count, fuse, part.tensor[0])
"""


def test_every_kernel_keeps_its_code_in_files_of_ours():
    names = []
    for module in pkgutil.iter_modules(della.kernels.__path__, "della.kernels."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, CPUDispatcher):
                assert type(value._cache._cache_file) is CompiledFiles, value
                names.append(value.py_func.__qualname__)
    assert {"merge_block", "_mean_of_2", "_sum_of_4", "_two_passes_of_10"} <= set(names)
    assert not [name for name in names if "<locals>" in name], "closures of one name are taken for each other"


def test_two_processes_that_compile_at_once_keep_two_files(tmp_path):
    """Both look before either has kept anything: numba's own class would give both the number 1."""

    class Late(CompiledFiles):
        def _save_data(self, name, data):
            other.save(("types", "processor", "sum"), "code of the sum")
            super()._save_data(name, data)

    one, other = (kind(str(tmp_path), "fuse.elected", "stamp") for kind in (Late, CompiledFiles))
    one.save(("types", "processor", "mean"), "code of the mean")
    fresh = CompiledFiles(str(tmp_path), "fuse.elected", "stamp")
    assert fresh.load(("types", "processor", "mean")) == "code of the mean"
    assert fresh.load(("types", "processor", "sum")) == "code of the sum"
    assert fresh.load(("types", "processor", "other")) is None


@pytest.mark.full
@pytest.mark.timeout(900)
def test_processes_that_compile_at_once_all_merge_right_and_so_does_the_next(tmp_path):
    for number in range(3):
        environment = {**os.environ, "DELLA_CACHE": str(tmp_path / str(number)), "OMP_NUM_THREADS": "1"}
        start = {"cwd": ROOT, "env": environment, "stderr": subprocess.PIPE, "text": True}
        together = [subprocess.Popen([sys.executable, "-c", MERGES], **start) for _ in range(3)]
        complaints = [process.communicate(timeout=400)[1] for process in together]
        after = subprocess.run([sys.executable, "-c", MERGES], **start)
        assert [process.returncode for process in together] == [0, 0, 0], complaints
        assert after.returncode == 0, after.stderr
