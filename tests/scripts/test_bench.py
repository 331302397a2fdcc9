"""`python -m scripts.bench`: what it measures, how a stopped one goes on, and what its tables are made of."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from della.checkpoint import Checkpoint
from della.errors import InputError
from scripts.timing import inside
from scripts.timing.floor import copy
from scripts.timing.jobs import COPY, FLUSHED, OURS, POINTS, VARIANTS, Job, all_jobs, command
from scripts.timing.log import Log
from scripts.timing.models import SHAPES, make_family, parameters_of, to_bfloat16
from scripts.timing.process import INTERVAL, measure
from scripts.timing.settings import BenchConfig

# Reads the recipe that mergekit is given and writes the first model's weights: as many bytes as a merge has.
STUB = f"""#!{sys.executable}
import shutil, sys, yaml
recipe = yaml.safe_load(open(sys.argv[1]))
assert recipe["dtype"] == "bfloat16" and len(recipe["models"]) == 3, recipe
shutil.copytree(recipe["models"][0]["model"], sys.argv[2])
"""
ENVIRONMENT = {"PATH": os.environ["PATH"]}


@pytest.fixture(scope="session")
def compiled(tmp_path_factory) -> Path:
    """A cache folder for all benches: kernels are compiled once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def work(compiled, tmp_path) -> Path:
    """A folder for paths.work without models."""
    (tmp_path / "work" / "bench").mkdir(parents=True)
    (tmp_path / "work" / "bench" / "cache").symlink_to(compiled)
    return tmp_path / "work"


@pytest.fixture
def stub(tmp_path, monkeypatch) -> Path:
    """A program in mergekit's place."""
    program = tmp_path / "environment" / "bin" / "mergekit-yaml"
    program.parent.mkdir(parents=True)
    program.write_text(STUB)
    program.chmod(0o755)
    monkeypatch.setenv("DELLA_MERGEKIT", str(program))
    return program


def test_a_stopped_bench_makes_the_missing_measurements_alone_and_writes_table_and_figures(stub, call, work, tmp_path):
    """One round of one method at one size: start-up of both tools, the first merge, two copies, two merges: 7."""
    options = ["sizes=[0.001]", "counts=[]", "methods=[task_arithmetic]", "rounds=1", "keep=true"]
    options += [f"paths.work={work}", f"paths.results={tmp_path / 'results'}"]
    ended = call("bench", *options)
    assert ended.code == 0, ended.err
    log = work / "bench" / "measurements.jsonl"
    lines = log.read_text().splitlines()
    assert len(lines) == 1 + 7
    assert [line.partition("]")[0] for line in ended.out.splitlines() if line.startswith("[")] == [
        f"[{done}/7" for done in range(1, 8)
    ]

    log.write_text("\n".join(lines[:6]) + '\n{"job": {"size": 0.0')  # killed while it wrote the last but one
    again = call("bench", *options[:4], *options[5:], "publish=true")
    assert again.code == 0, again.err
    assert [line.partition("]")[0] for line in again.out.splitlines() if line.startswith("[")] == ["[6/7", "[7/7"]
    assert log.read_text().splitlines()[:6] == lines[:6]

    table = (tmp_path / "results" / "bench" / "bench.md").read_text()
    assert table in again.out
    assert f"| {parameters_of(0.001) / 1e9:.3g} B" in table
    assert "not run" not in table
    for text in (table, log.read_text()):
        assert str(tmp_path) not in text
        assert os.uname().nodename not in text
    for ending in ("png", "pdf"):
        assert (tmp_path / "results" / "bench" / f"size.{ending}").stat().st_size > 5000
    assert not list((work / "bench").glob("models-*"))
    assert not (work / "bench" / "merged").exists()


def test_a_tool_that_writes_less_than_a_model_is_not_measured(stub, call, work):
    stub.write_text(f"#!{sys.executable}\nimport os, sys; os.mkdir(sys.argv[2])\n")
    options = ["sizes=[]", "counts=[]", "methods=[linear]", "rounds=1"]
    ended = call("bench", *options, f"paths.work={work}")
    assert ended.code == 2
    assert "0 bytes of weights were written where the base has" in ended.err


def test_without_mergekit_the_bench_says_how_to_get_it(call, tmp_path, monkeypatch):
    monkeypatch.setenv("DELLA_MERGEKIT", str(tmp_path / "nowhere"))
    ended = call("bench", f"paths.work={tmp_path / 'work'}")
    assert ended.code == 2
    assert ended.err.startswith(f"error: {tmp_path / 'nowhere'}: no mergekit there; run `make peers`")
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("rounds=0", "write a whole number from 1"),
        ("counts=[0]", "write a whole number from 1"),
        ("sizes=[1000]", "write billions of parameters"),
        ("methods=[slerp]", "write one of linear, task_arithmetic, ties, dare_ties, della"),
        ("again=[theirs]", "write one of ours, mergekit, floor"),
    ],
)
def test_a_wrong_option_is_answered_before_anything_is_made(option, says, call, tmp_path):
    ended = call("bench", option, f"paths.work={tmp_path / 'work'}")
    assert (ended.code, says in ended.err) == (2, True)
    assert not (tmp_path / "work").exists()


def test_by_default_every_case_is_measured_in_interleaved_rounds():
    """Start-up: 5 methods x 2 tools x 3 rounds = 30. At each of 3 sizes: the first merge, 2 copies x 3, 5 methods x 2 x
    3, 4 variants x 3, ten points x 3: 1 + 6 + 30 + 12 + 3 = 52. For 1, 2, 4, 8 experts: 2 copies x 3 + 2 x 2 x 3 = 18.
    """
    jobs = all_jobs(BenchConfig())
    assert len(jobs) == len(set(jobs)) == 30 + 3 * 52 + 4 * 18
    della = [job for job in jobs if (job.size, job.experts, job.case) == (1.0, 3, "della")]
    assert [(job.tool, job.round) for job in della] == [(t, n) for n in (1, 2, 3) for t in ("ours", "mergekit")]


def test_both_tools_are_given_the_same_settings(stub, tmp_path):
    """density 0.5 is a drop rate of 0.5; a half window of 0.07 is a window of 0.14."""
    folders = [tmp_path / name for name in ("base", "expert1", "expert2", "expert3")]
    ours, theirs = (
        command(Job(1.0, 3, "della", tool, 1), folders, tmp_path, tmp_path / "out") for tool in ("ours", "mergekit")
    )
    assert {"method=della", "method.drop_rate=0.5", "method.epsilon=0.14"} <= set(ours)
    recipe = yaml.safe_load(Path(theirs[1]).read_text())
    assert recipe["base_model"] == str(folders[0])
    assert recipe["models"][2] == {
        "model": str(folders[3]),
        "parameters": {"weight": 1.0, "density": 0.5, "epsilon": 0.07},
    }


def test_models_are_those_of_their_number_whole_or_made_again(tmp_path):
    """Base 0.02 wide, an expert 0.002 from it: bfloat16 rounds to within 0.0001 there, so both show to within 3 %."""
    told: list[str] = []
    folders = make_family(tmp_path, 0.001, 2, told.append)
    base, first, second = (Checkpoint(folder) for folder in folders)
    assert base.headers == first.headers == second.headers
    assert sum(header.numel for header in base.headers.values()) == parameters_of(0.001)
    name = "model.layers.3.mlp.up_proj.weight"
    assert base.tensor(name).float().std().item() == pytest.approx(0.02, rel=0.03)
    one, two = ((model.tensor(name).float() - base.tensor(name).float()) for model in (first, second))
    assert one.std().item() == pytest.approx(0.002, rel=0.03)
    assert abs(torch.corrcoef(torch.stack([one.flatten(), two.flatten()]))[0, 1]) < 0.05

    bytes_of = [(folder / "model.safetensors").read_bytes() for folder in folders]
    assert make_family(tmp_path, 0.001, 2, told.append) == folders
    assert len(told) == 1
    with (folders[2] / "model.safetensors").open("r+b") as stream:
        stream.truncate(1000)
    make_family(tmp_path, 0.001, 3, told.append)
    assert [(folder / "model.safetensors").read_bytes() for folder in folders] == bytes_of
    assert "making 2 random models" in told[1]


@pytest.mark.parametrize("size", SHAPES)
def test_the_sizes_of_the_table_hold_at_least_what_they_are_called(size):
    assert 1 <= parameters_of(size) / (size * 1e9) < 1.11


def test_bfloat16_is_rounded_as_torch_rounds_it():
    values = np.random.default_rng(0).standard_normal(100_000, np.float32)
    values[:4] = [1.00390625, 1.01171875, -0.0, 3.3e38]  # two ties, to the even one below and above; the largest
    assert (to_bfloat16(values) == torch.from_numpy(values).bfloat16().view(torch.uint16).numpy()).all()


def test_the_memory_of_a_command_is_that_of_all_its_processes():
    """Two processes of 64 MB that they fill, and of little else; of a mapped file, nothing counts."""
    fill = "import time; held = bytearray(64_000_000); time.sleep(1.0)"
    both = f"import subprocess, sys; child = subprocess.Popen([sys.executable, '-c', {fill!r}]); {fill}; child.wait()"
    cost = measure([sys.executable, "-c", both], Path("/"), ENVIRONMENT)
    assert 128e6 < cost.peak < 175e6
    assert 1.0 < cost.seconds < 20
    assert 0 < cost.cpu < cost.seconds
    assert INTERVAL < 0.02


def test_a_command_that_fails_is_an_error_with_its_last_line():
    with pytest.raises(InputError, match=r"failed: RuntimeError: no$"):
        measure([sys.executable, "-c", "print(1); raise RuntimeError('no')"], Path("/"), ENVIRONMENT)


@pytest.mark.parametrize("flush", [False, True])
def test_the_floor_writes_the_first_model(tmp_path, flush):
    folders = make_family(tmp_path, 0.001, 1, lambda line: None)
    assert copy(str(tmp_path / "out"), flush, [str(folder) for folder in folders]) > 0
    assert (tmp_path / "out" / "0.safetensors").read_bytes() == (folders[0] / "model.safetensors").read_bytes()


def test_variants_are_options_of_the_methods_that_are_measured():
    assert {name.split()[0] for name in VARIANTS} <= set(OURS)
    for name, options in VARIANTS.items():
        assert f"method.{name.split()[1]}" in options


def test_what_the_profile_puts_a_clock_on_is_there():
    for path in (*inside.PARTS, *inside.THREADED, "della.output.merge_to_folder"):
        owner, name = inside.owner_of(path)
        assert callable(getattr(owner, name)), path


def test_a_profile_says_where_the_time_goes(call, work):
    ended = call("bench", "profile=true", "sizes=[0.001]", "methods=[della]", f"paths.work={work}")
    assert ended.code == 0, ended.err
    for part in ("Python and imports", "kernels", "waiting for the disk", "peak private memory", "standard library"):
        assert part in ended.out
    assert not list((work / "bench").glob("models-*"))


@pytest.mark.full
def test_a_bench_with_mergekit_itself_measures_every_case(call, work):
    options = ["sizes=[0.001,0.002]", "counts=[1,2]", "counts_size=0.002", "rounds=1"]
    ended = call("bench", *options, f"paths.work={work}")
    assert ended.code == 0, ended.err
    table = (work / "bench" / "bench.md").read_text()
    assert "not run" not in table
    jobs = Log(work / "bench" / "measurements.jsonl").measurements
    assert {job.case for job in jobs} == {*OURS, *VARIANTS, COPY, FLUSHED, POINTS}
