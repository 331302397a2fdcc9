"""A plan says every problem of a merge at once, and what the merge needs."""

import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from della.checkpoint import MemoryCheckpoint
from della.errors import InputError
from della.experts import Family
from della.methods import make_method
from della.plan import check_before, make_plan
from della.plan_facts import BLOCK_BYTES, PROCESS_BYTES, memory_bound
from della.plan_text import duration, size
from della.policy import Policy
from della.room import available_memory, free_disk, uncached

Q, EMBED, NORM = "model.layers.0.self_attn.q_proj.weight", "model.embed_tokens.weight", "model.norm.weight"
DELLA = make_method("della")
Usage = namedtuple("Usage", "total used free")


def weights(seed: int, rows: int = 20, scale: float = 1.0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        Q: (rng.standard_normal((16, 16)) * scale).astype(np.float32),
        EMBED: (rng.standard_normal((rows, 16)) * scale).astype(np.float32),
        NORM: np.ones(16, np.float32),
    }


def save(folder: Path, tensors: dict[str, np.ndarray]) -> Path:
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    return folder


def near(base: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """An expert whose delta is a tenth of the base."""
    noise = weights(seed, len(base[EMBED]))
    return {name: (tensor + 0.1 * noise[name]).astype(np.float32) for name, tensor in base.items()}


@pytest.fixture
def base(tmp_path) -> Path:
    return save(tmp_path / "base", weights(0))


@pytest.fixture
def experts(tmp_path) -> dict[str, Path]:
    return {name: save(tmp_path / name, near(weights(0), seed)) for name, seed in (("lm", 1), ("math", 2))}


def test_a_merge_that_goes_has_no_problems_and_the_numbers_worked_by_hand(base, experts, tmp_path):
    """16 * 16 + 20 * 16 + 16 = 592 parameters; 4 bytes each, and config.json with 23 bytes, are written."""
    plan = make_plan(base, experts, DELLA, seed=1, out=tmp_path / "out")
    assert (plan.problems, plan.warnings) == ((), ())
    check_before(plan)
    assert plan.facts["tensors"] == {
        "merged": {"tensors": 3, "parameters": 592},
        "passed": {"tensors": 0, "parameters": 0},
        "unpruned": {"tensors": 0, "parameters": 0, "names": []},
    }
    assert plan.facts["disk"]["needed"] == 592 * 4 + len('{"model_type": "llama"}')
    assert [model["name"] for model in plan.facts["models"]] == ["base", "lm", "math"]
    assert plan.facts["models"][0]["parameters"] == 592
    assert {name: lineage["verdict"] for name, lineage in plan.facts["lineage"].items()} == {
        "lm": "fine",
        "math": "fine",
    }
    assert not (tmp_path / "out").exists()
    json.dumps(plan.facts)


def test_the_text_has_a_row_for_every_model_and_every_need(base, experts, tmp_path, monkeypatch):
    policy = Policy(DELLA, exclude=("*norm*",))
    monkeypatch.setattr("della.plan.measure_pace", lambda *arguments: 0.1)
    text = make_plan(base, experts, policy, seed=1, out=tmp_path / "out", timed=True).text()
    rows = text.splitlines()
    assert [row.split()[0] for row in rows if row] == [
        *("model", "base", "lm", "math"),
        *("tensors", "merged", "of", "copied"),
        *("|expert", "lm", "math"),
        *("disk", "memory", "time"),
    ]
    assert NORM in next(row for row in rows if "unpruned" in row)
    assert "about 59 s" in text


def test_several_problems_of_several_models_come_out_in_one_go(base, tmp_path):
    """A folder that is not there hides nothing: a wrong base, shapes, a broken file, arguments, the target."""
    models = {
        "gone": tmp_path / "nix",
        "other": save(tmp_path / "other", weights(7)),
        "wide": save(tmp_path / "wide", weights(1) | {Q: np.ones((16, 17), np.float32)}),
        "rows": save(tmp_path / "rows", near(weights(0, rows=20), 3) | {EMBED: np.ones((21, 16), np.float32)}),
        "cut": save(tmp_path / "cut", weights(1)),
    }
    file = models["cut"] / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-10])
    plan = make_plan(base, models, DELLA, dtype="int8", out=base, known=["method della: epsilon is wide"])
    for words in (
        "method della: epsilon is wide",
        "expert gone: ",
        f"expert other ({models['other']}): its ",
        f"expert wide ({models['wide']}): another shape, {Q} [16, 17]",
        f"expert rows ({models['rows']}): extra vocabulary rows",
        "cut short",
        "seed is None",
        "dtype is 'int8'",
        f"{base}: is there already",
    ):
        assert sum(words in problem for problem in plan.problems) == 1, words
    assert all("\n" not in problem for problem in plan.problems)
    with pytest.raises(InputError) as caught:
        check_before(plan)
    assert str(caught.value) == "; ".join(plan.problems)


def test_a_base_that_cannot_be_read_does_not_hide_the_experts(experts, tmp_path):
    plan = make_plan(tmp_path / "nix", experts | {"gone": tmp_path / "gone"}, DELLA, seed=1, out=tmp_path)
    assert [problem.split(":")[0] for problem in plan.problems] == ["the base", "expert gone", str(tmp_path)]
    assert [model["name"] for model in plan.facts["models"]] == ["lm", "math"]


def test_no_expert_is_a_problem_that_is_told_once(base, tmp_path):
    assert make_plan(base, {}, DELLA, seed=1).problems == make_plan(None, {}, DELLA, seed=1).problems
    assert len(make_plan(base, {}, DELLA, seed=1).problems) == 1
    assert len(make_plan(base, {"lm": tmp_path / "nix"}, DELLA, seed=1).problems) == 1


def test_a_wrong_base_is_a_problem_whose_expert_is_named(base, experts, tmp_path):
    plan = make_plan(save(tmp_path / "wrong", weights(5)), experts, DELLA, seed=1)
    assert len(plan.problems) == 2
    assert all("it comes from another base" in problem for problem in plan.problems)


def test_a_full_disk_is_caught_with_both_numbers(base, experts, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10_000, 8_000, 2_000))
    (problem,) = make_plan(base, experts, DELLA, seed=1, out=tmp_path / "out").problems
    assert "out: needs 2.4 kB where 2.0 kB are free" in problem
    assert make_plan(base, experts, DELLA, seed=1, dtype="bfloat16", out=tmp_path / "out").problems == ()


def test_what_an_interrupted_merge_left_beside_its_target_counts_as_free(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10_000, 8_000, 2_000))
    for folder, count in ((".out.merging/files", 500), (".out.merging", 30), (".other.merging", 7)):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "model.safetensors").write_bytes(bytes(count))
    assert free_disk(tmp_path / "out") == 2_530
    assert free_disk(tmp_path / "not" / "yet" / "there") == 2_000


def test_too_little_memory_is_caught_with_both_numbers(base, experts, monkeypatch):
    monkeypatch.setattr("della.plan.available_memory", lambda: 200_000_000)
    (problem,) = make_plan(base, experts, DELLA, seed=1, threads=1).problems
    assert f"needs up to {size(PROCESS_BYTES + BLOCK_BYTES)} of memory where 200 MB are available" in problem


@pytest.mark.parametrize(
    ("method", "options", "per_parameter"),
    [
        ("della", {}, 0),
        ("della", {"rank_over": "tensor"}, 12),
        ("della", {"rescale": "l1"}, 12),
        ("ties", {}, 0),
        ("ties", {"trim_over": "global"}, 12),
        ("average", {}, 0),
    ],
)
def test_memory_depends_on_the_model_only_where_whole_tensors_are_needed(method, options, per_parameter):
    model = MemoryCheckpoint({"a": np.zeros((1000, 1000), np.float32), "b": np.zeros(10, np.float32)})
    bound = memory_bound(model, Family(("a", "b"), ()), Policy(make_method(method, **options)), threads=3)
    assert bound == PROCESS_BYTES + 3 * BLOCK_BYTES + per_parameter * 1_000_000


def test_a_memory_limit_of_a_control_group_or_of_one_above_it_counts(tmp_path):
    """Version 2: 1000 allowed, 700 taken of which 100 are cached file pages, so 400; the group above: 350 - 0."""
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 8 kB\nMemAvailable:       2 kB\n")
    assert available_memory(proc, groups) == 2048
    (proc / "self" / "cgroup").write_text("0::/job/step\n")
    step = groups / "job" / "step"
    step.mkdir(parents=True)
    (step / "memory.max").write_text("1000\n")
    (step / "memory.current").write_text("700\n")
    (step / "memory.stat").write_text("anon 600\ninactive_file 60\nactive_file 40\n")
    (groups / "job" / "memory.max").write_text("max\n")
    (groups / "job" / "memory.current").write_text("800\n")
    assert available_memory(proc, groups) == 400
    (groups / "job" / "memory.max").write_text("1150\n")
    assert available_memory(proc, groups) == 350


def test_a_memory_limit_of_version_1_counts_and_no_limit_does_not(tmp_path):
    proc, group = tmp_path / "proc", tmp_path / "groups" / "memory" / "job"
    (proc / "self").mkdir(parents=True)
    group.mkdir(parents=True)
    (proc / "meminfo").write_text("MemAvailable: 2 kB\n")
    (proc / "self" / "cgroup").write_text("9:name=systemd:/\n4:cpu,memory:/job\n")
    (group / "memory.usage_in_bytes").write_text("700\n")
    (group / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert available_memory(proc, tmp_path / "groups") == 2048
    (group / "memory.limit_in_bytes").write_text("1000\n")
    assert available_memory(proc, tmp_path / "groups") == 300


def test_memory_is_unknown_where_nothing_tells_it(tmp_path):
    assert available_memory(tmp_path, tmp_path) is None


def test_a_file_that_was_just_written_is_in_memory(tmp_path):
    (tmp_path / "file").write_bytes(bytes(1_000_000))
    (tmp_path / "empty").touch()
    assert uncached([tmp_path / "file", tmp_path / "empty"]) == 0


def test_values_that_float16_cannot_hold_are_a_problem_and_sums_that_may_are_a_warning(tmp_path):
    """With p = 0.5, a delta of 10,000 becomes 20,000, and 40,000 more is 60,000; one of 20,000 ends at 80,000."""
    low, high = weights(0), weights(0)
    low[Q][:], high[Q][:] = 40_000, 70_000
    experts = {"lm": save(tmp_path / "lm", {**low, Q: low[Q] + 10_000})}
    method = make_method("dare", drop_rate=0.5)
    plan = make_plan(save(tmp_path / "low", low), experts, method, seed=1, dtype="float16")
    assert plan.problems == ()
    assert not any("float16" in warning for warning in plan.warnings)
    far = {"lm": save(tmp_path / "far", {**low, Q: low[Q] + 20_000})}
    plan = make_plan(tmp_path / "low", far, method, seed=1, dtype="float16")
    assert any("merged values may reach 8e+04, and float16 ends at 65504" in warning for warning in plan.warnings)
    plan = make_plan(save(tmp_path / "high", high), far, method, seed=1, dtype="float16")
    assert any("the base holds 7e+04, and float16 ends at 65504" in problem for problem in plan.problems)
    assert not any("float16" in text for text in make_plan(tmp_path / "high", far, method, seed=1).problems)


def test_a_pattern_that_fits_nothing_and_a_weight_of_nobody_are_problems(base, experts):
    assert (
        "no tensor matches '*nom*'" in make_plan(base, experts, Policy(DELLA, exclude=("*nom*",)), seed=1).problems[0]
    )
    assert "weights.code" in make_plan(base, experts, Policy(DELLA, weights={"code": 0.5}), seed=1).problems[0]


def test_options_out_of_bounds_for_one_tensor_are_told_once(base, experts):
    def overrides(tensor: str, expert: str) -> dict[str, float]:
        return {"drop_rate": 0.05} if tensor == Q else {}

    plan = make_plan(base, experts, Policy(DELLA, overrides=overrides), seed=1)
    assert ["drop_rate 0.05 with epsilon 0.14" in problem for problem in plan.problems] == [True]


def test_the_time_is_that_of_all_merged_parameters_and_is_measured_only_where_the_merge_would_go(
    base, experts, monkeypatch
):
    """592 parameters at a quarter of a second each."""
    asked = []

    def measured(*arguments):
        asked.append(arguments[2:])
        return 0.25

    monkeypatch.setattr("della.plan.measure_pace", measured)
    assert make_plan(base, experts, DELLA, seed=1, threads=2, timed=True).facts["seconds"] == 148.0
    assert "seconds" not in make_plan(base, experts, DELLA, seed=1).facts
    make_plan(base, experts, DELLA, seed=None, timed=True)
    assert asked == [((EMBED, Q, NORM), ["lm", "math"], 2, None)]


def test_a_plan_imports_no_torch():
    code = "import sys; import della.plan; sys.exit('torch' in sys.modules)"
    root = Path(__file__).resolve().parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, env=os.environ, timeout=60).returncode == 0


@pytest.mark.parametrize(
    ("count", "text"),
    [
        *(
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1000, "1.0 kB"),
            (9_949, "9.9 kB"),
            (9_950, "10 kB"),
            (999_499, "999 kB"),
        ),
        *((999_500, "1.0 MB"), (26_031_000_000, "26 GB"), (1.2e12, "1.2 TB"), (5e15, "5000.0 TB")),
    ],
)
def test_sizes_are_written_with_two_figures_or_more(count, text):
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.1, "1 s"), (99, "99 s"), (100, "2 minutes"), (3599, "60 minutes"), (7200, "2.0 hours")]
)
def test_durations_are_written_for_readers(seconds, text):
    assert duration(seconds) == text
