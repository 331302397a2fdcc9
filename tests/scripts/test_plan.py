"""`python -m scripts.plan`: whether a merge would go, all that it would fail at, exit code 0 or 2, nothing written."""

import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from della.headers import read_headers


@pytest.fixture
def named(pico) -> list[str]:
    """A base and two of the three experts of the family."""
    return [f"experts.base={pico.base}", *(f"experts.models.{name}={pico.models[name]}" for name in ("lm", "math"))]


@pytest.fixture
def stranger(pico, tmp_path):
    """A base of the same shapes that the experts were not tuned from: its matrices are drawn anew."""
    folder = tmp_path / "stranger"
    shutil.copytree(pico.base, folder)
    rng = np.random.default_rng(0)
    weights = load_file(folder / "model.safetensors")
    anew = {
        name: (rng.standard_normal(tensor.shape) * tensor.std()).astype(np.float32) if tensor.ndim > 1 else tensor
        for name, tensor in weights.items()
    }
    save_file(anew, folder / "model.safetensors")
    return folder


def test_a_merge_that_would_go_is_described_and_nothing_is_written(start, named, pico, tmp_path):
    out = tmp_path / "merged"
    process = start("plan", *named, "method=della", f"out={out}")
    said, complained = process.communicate(timeout=120)
    assert process.returncode == 0
    assert [line for line in complained.splitlines() if not line.startswith("note: kernels are compiled")] == []
    headers, _ = read_headers(pico.base / "model.safetensors")
    parameters = f"{sum(header.numel for header in headers.values()):,}"
    rows = {line.split()[0]: line for line in said.splitlines() if line}
    assert parameters in rows["merged"]
    assert rows["lm"].endswith("fine")
    assert rows["math"].endswith("fine")
    assert "to write" in rows["disk"]
    assert "about" in rows["time"]
    assert rows["no"].startswith("no problem found: python -m scripts.merge")
    assert not out.exists()


def test_every_problem_is_a_line_of_its_own_and_the_exit_code_is_2(call, stranger, pico, tmp_path):
    ended = call(
        "plan",
        f"experts.base={stranger}",
        f"experts.models.lm={pico.models['lm']}",
        f"experts.models.code={pico.models['code']}",
        "experts.models.gone=nix",
        "experts.merge=[lm,code,gone,mth]",
        "method.drop_rate=0.9",
        "method.epsilon=0.3",
        "max_shard_gb=0",
        "dtype=int8",
        f"out={pico.base}",
    )
    lines = ended.err.splitlines()
    assert ended.code == 2
    assert all(line.startswith(("error: ", "warning: ")) for line in lines)
    for words in (
        "there is no expert 'mth'",
        "breaks drop_rate + epsilon/2 < 1",
        "max_shard_gb=0: write a number above 0",
        "dtype is 'int8'",
        "expert gone: nix: no such folder",
        f"expert lm ({pico.models['lm']}): its ",
        f"expert code ({pico.models['code']}): its ",
        f"{pico.base}: is there already",
    ):
        assert sum(line.startswith("error: ") and words in line for line in lines) == 1, words
    assert sum("it comes from another base" in line for line in lines) == 2
    assert "wrong" in ended.out


def test_a_warning_does_not_stop_a_merge(call, pico):
    ended = call("plan", f"experts.base={pico.base}", f"experts.models.same={pico.base}", "method=average")
    assert ended.code == 0
    assert ended.err.startswith(f"warning: expert same ({pico.base}): equals the base in all")


def test_what_is_not_named_is_told_together(call):
    ended = call("plan", "method=unmerged")
    assert ended.code == 2
    assert [line.split()[1] for line in ended.err.splitlines()] == ["experts.base", "method=unmerged", "no"]


def test_a_vocabulary_option_that_there_is_not_is_told_once(call, named):
    ended = call("plan", *named, "experts.vocab=some")
    assert ended.code == 2
    assert ended.err.count("some") == 1


def test_a_family_by_its_recipe_is_looked_up_and_never_made(call, work, tmp_path):
    ended = call("plan", "experts=tiny_pico", "experts.merge=[lm,math]", f"paths.work={work}")
    assert (ended.code, ended.err) == (0, "")
    ended = call("plan", "experts=tiny_pico", "experts.seed=5", f"paths.work={tmp_path / 'empty'}")
    assert ended.code == 2
    assert "not made yet; run python -m scripts.experts" in ended.err
    assert not (tmp_path / "empty").exists()


def test_a_misspelt_option_is_answered_as_by_every_script(call, named):
    assert call("plan", *named, "sed=1").err == "error: sed: no such option; did you mean seed?\n"


def test_help_lists_the_options_of_a_merge(call):
    said = call("plan", "--help").out
    assert "max_shard_gb" in said
    assert "its disk is not checked" in said


def test_weights_and_patterns_are_checked_as_a_merge_checks_them(call, named):
    ended = call("plan", *named, "weights.lm=0.5", "exclude=['*norm*']")
    assert (ended.code, ended.err) == (0, "")
    unpruned = next(line for line in ended.out.splitlines() if "unpruned" in line)
    assert unpruned.split()[3:5] == ["5", "160"]  # two layers with two norms and a last one, of 32 parameters each
    ended = call("plan", *named, "weights.code=0.5", "threads=0")
    assert ended.code == 2
    assert "weights.code: there is no such expert" in ended.err
    assert "threads=0: write a whole number from 1" in ended.err


def test_a_mergekit_file_is_planned_and_its_mistakes_are_told(call, pico, tmp_path):
    file = tmp_path / "config.yml"
    models = "".join(f"  - model: {pico.models[name]}\n    parameters: {{weight: 0.5}}\n" for name in ("lm", "math"))
    file.write_text(f"merge_method: task_arithmetic\nbase_model: {pico.base}\nmodels:\n{models}")
    ended = call("plan", "--mergekit", file)
    assert ended.code == 0
    assert all(line.startswith("warning: ") for line in ended.err.splitlines())
    assert [line.split()[0] for line in ended.out.splitlines() if line.endswith("fine")] == ["lm", "math"]
    file.write_text("merge_method: slerp\n")
    ended = call("plan", "--mergekit", file)
    assert (ended.code, ended.err.startswith(f"error: {file}: ")) == (2, True)
    assert "mergekit" in call("plan", "--mergekit", file, "method=ties").err
