"""Shared by the tests of the commands: a pico family built once, commands called in this process or started as one."""

import contextlib
import importlib
import io
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors.numpy import load_file, save_file

from della.tiny.family import Family, build_family
from della.tiny.recipe import RECIPES
from tests.scripts.scored import write_data

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def pico(tmp_path_factory) -> Family:
    """A pico family: the files of a real one, weights that have learnt next to nothing."""
    return build_family(tmp_path_factory.mktemp("families") / "experts", 0, RECIPES["pico"], progress=False)


@pytest.fixture
def work(pico, tmp_path) -> Path:
    """A folder for paths.work that holds the family and no records."""
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "experts").symlink_to(pico.folder.parent)
    return folder


@pytest.fixture
def misshapen(pico, tmp_path) -> list[str]:
    """Arguments that name the pico family's folders, and a Code expert whose vocabulary is a row too short."""
    wrong = tmp_path / "misshapen"
    shutil.copytree(pico.models["code"], wrong)
    weights = load_file(wrong / "model.safetensors")
    weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"][:-1].copy()
    save_file(weights, wrong / "model.safetensors", metadata={"format": "pt"})
    models = {**pico.models, "code": wrong}
    named = [f"experts.models.{name}={folder}" for name, folder in models.items()]
    return ["experts.recipe=null", f"experts.base={pico.base}", f"experts.data={pico.data}", *named]


@pytest.fixture(autouse=True)
def _an_empty_folder(tmp_path, monkeypatch) -> None:
    """What a command writes beside the paths it is given would show here."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("DELLA_DATA_DIR", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # without a folder, data would come from the hub


@pytest.fixture(scope="session")
def call():
    """Runs `python -m scripts.NAME ARGUMENTS...` in this process, without the cost of starting one."""

    def run(script: str, *arguments: object) -> Ended:
        out, err, code = io.StringIO(), io.StringIO(), 0
        main = importlib.import_module(f"scripts.{script}").main
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            patch.setattr(sys, "argv", [f"scripts.{script}", *map(str, arguments)])
            try:
                main()
            except SystemExit as leaving:
                code = leaving.code
        return Ended(code, out.getvalue(), err.getvalue())

    return run


@pytest.fixture
def start():
    """Starts `python -m scripts.NAME ARGUMENTS...` as a process of its own; what still runs at the end is killed."""
    processes = []

    def run(script: str, *arguments: object, threads: int = 1) -> subprocess.Popen:
        environment = {name: value for name, value in os.environ.items() if name != "DELLA_DATA_DIR"}
        command = [sys.executable, "-m", f"scripts.{script}", *map(str, arguments)]
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**environment, "OMP_NUM_THREADS": str(threads)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """What scripts.score reads: three GSM8K, two MBPP and two HumanEval problems, three instructions."""
    return write_data(tmp_path / "data")
