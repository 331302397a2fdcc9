"""What is handed to Slurm, with an sbatch that only takes notes; a real cluster runs it in test_slurm.py."""

import json
import os
import re
import stat
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from scripts.door import prepare
from scripts.schema import CONFIGS

PICO = ("-m", "experts=tiny_pico", "engine=hf", "sweep=seeds", "sweep.family_seeds=[]")
SLURM = (*PICO, "hydra/launcher=slurm")


@pytest.fixture
def slurm(tmp_path, monkeypatch) -> Path:
    """A folder of Slurm's commands that know one job, 77; sbatch keeps its script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    programs = {
        "sbatch": f'cp "$1" {tmp_path}/script; echo Submitted batch job 77',
        "srun": "exit 1",
        "squeue": "exit 0",
        "scontrol": "echo 'ClusterName             = alpha'",
    }
    for name, body in programs.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.delenv("SLURM_CLUSTER_NAME", raising=False)
    return folder


def test_the_jobs_are_one_array_with_what_was_asked_for(call, work, slurm):
    asked = ("partition=gpu", "account=nlp", "qos=long", "gres=gpu:a100:1", "mem_gb=120", "timeout_min=90")
    more = (
        *(f"hydra.launcher.{option}" for option in asked),
        *("hydra.launcher.array_parallelism=2", "hydra.launcher.additional_parameters.mail-user=me@example.org"),
        *("hydra.launcher.setup=['module load cuda']", "'hydra.launcher.python=apptainer exec della.sif python'"),
    )
    ended = call("run", *SLURM, *(option.strip("'") for option in more), "workers=3", f"paths.work={work}")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("submitted: job 77, 3 workers, 90 min each, partition gpu\n")
    assert "scripts.status experts=tiny_pico engine=hf sweep=seeds 'sweep.family_seeds=[]' paths.work=" in ended.out
    script = (slurm.parent / "script").read_text()
    for line in (
        *("partition=gpu", "account=nlp", "qos=long", "gres=gpu:a100:1", "mem=120GB", "time=90", "requeue"),
        *("array=0-2%2", "mail-user=me@example.org", "job-name=della-seeds", "open-mode=append", "signal=USR2@120"),
    ):
        assert f"#SBATCH --{line}\n" in script
    assert "\nmodule load cuda\n" in script
    assert re.search(r"^srun .* apptainer exec della.sif python -u -m submitit", script, re.MULTILINE)
    said = json.loads(next(work.glob("slurm/*/submission.json")).read_text())
    assert (said["job"], said["cluster"], said["sweep"], said["workers"]) == ("77", "alpha", "seeds", 3)
    assert len(list(work.glob("slurm/*/77_*_submitted.pkl"))) == 3


def test_the_number_of_jobs_has_to_be_said(call, work, slurm):
    ended = call("run", *SLURM, f"paths.work={work}")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "error: hydra/launcher=slurm: write how many jobs, as workers=8 (make: WORKERS=8)\n"
    assert not (work / "slurm").exists()


def test_without_slurm_it_says_where_to_go(call, work, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    ended = call("run", *SLURM, "workers=2", f"paths.work={work}")
    assert ended.code == 2
    assert ended.err == "error: hydra/launcher=slurm: there is no Slurm here (no srun); submit from a login node\n"


def test_what_sbatch_refuses_is_said_in_one_line(call, work, slurm):
    (slurm / "sbatch").write_text("#!/bin/sh\necho 'sbatch: error: invalid partition specified: gpo' >&2\nexit 1\n")
    (slurm / "sbatch").chmod(stat.S_IRWXU)
    ended = call("run", *SLURM, "workers=2", "hydra.launcher.partition=gpo", f"paths.work={work}")
    assert ended.code == 2
    assert ended.err.splitlines()[-1].startswith(
        "error: hydra/launcher=slurm: the jobs were refused: sbatch: error: inv"
    )


def test_a_family_that_is_not_there_is_told_before_anything_is_submitted(call, slurm, tmp_path):
    ended = call("run", *SLURM, "workers=2", f"paths.work={tmp_path / 'new'}")
    assert ended.code == 2
    assert "is not made yet" in ended.err
    assert not (slurm.parent / "script").exists()


def test_a_search_that_makes_no_sense_is_told_before_anything_is_submitted(call, work, slurm):
    wrong = ("sweep=search_della", "sweep.search.options.drop_rate=0.5", "sweep.search.space.lambda_.low=-1")
    ended = call("run", *PICO[:3], SLURM[-1], *wrong, "workers=2", f"paths.work={work}")
    assert (ended.code, ended.out) == (2, "")
    assert "sweep.search.space." in ended.err
    assert not (slurm.parent / "script").exists()


def test_a_misspelt_option_of_the_launcher_is_refused(call, work, slurm):
    ended = call("run", *SLURM, "workers=2", "hydra.launcher.partitoin=gpu", f"paths.work={work}")
    assert ended.code == 2
    assert "partitoin" in ended.err


def test_a_clusters_own_file_holds_only_what_differs(tmp_path):
    (tmp_path / "hydra" / "launcher").mkdir(parents=True)
    (tmp_path / "hydra" / "launcher" / "mine.yaml").write_text("defaults: [slurm]\npartition: gpu\nmem_gb: 64\n")
    overrides = [f"hydra.searchpath=[file://{tmp_path}]", "hydra/launcher=mine", "wait=true", "sweep=seeds"]
    prepare()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        launcher = compose("run", overrides=overrides, return_hydra_config=True).hydra.launcher
    assert (launcher.partition, launcher.mem_gb) == ("gpu", 64)
    assert (launcher.timeout_min, launcher.wait, launcher.name) == (240, True, "della-seeds")
