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
from della.plan_facts import BLOCK_ARRAYS, PROCESS_BYTES, TORCH_BYTES, memory_bound
from della.plan_text import size
from della.policy import Policy

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
        "added": {},
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


def test_too_little_memory_is_caught_with_both_numbers(base, experts, monkeypatch):
    monkeypatch.setattr("della.plan.available_memory", lambda: 200_000_000)
    (problem,) = make_plan(base, experts, DELLA, seed=1, threads=1).problems
    assert (
        f"needs up to {size(PROCESS_BYTES + BLOCK_ARRAYS * 4 * 2**20)} of memory where 200 MB are available" in problem
    )


@pytest.mark.parametrize(
    ("method", "options", "more"),
    [
        ("della", {}, 0),
        ("della", {"rescale": "l1"}, 0),
        ("ties", {"trim_over": "global"}, 0),
        ("della", {"rank_over": "tensor"}, 4 * 2 * 1_000_000),
        ("della", {"rank_over": "tensor", "drop_rate": 0.0, "epsilon": 0.0}, 0),
        ("model_stock", {}, TORCH_BYTES + (16 + 12 * 2) * 1_000_010),
    ],
)
def test_memory_depends_on_the_model_only_where_whole_tensors_are_needed(method, options, more):
    """Two experts and two tensors, together 1,000,010 parameters; blocks of 2^20 are longer than their rows."""
    model = MemoryCheckpoint({"a": np.zeros((1000, 1000), np.float32), "b": np.zeros(10, np.float32)})
    policy = Policy(make_method(method, **options))
    bound = memory_bound(model, Family(("a", "b"), ()), policy, {"lm": model, "math": model}, threads=3)
    assert bound == PROCESS_BYTES + 3 * BLOCK_ARRAYS * 4 * 2**20 + more


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


def test_an_adapter_is_opened_measured_and_asked_for_its_base(base, tmp_path):
    """Two factors of rank 2 for a 16 x 16 matrix hold 2 * 2 * 16 = 64 parameters."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    settings = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": "org/other-7b"}))
    prefix = "base_model.model." + Q.removesuffix(".weight")
    factors = {"lora_A": (2, 16), "lora_B": (16, 2)}
    save_file(
        {f"{prefix}.{name}.weight": np.full(shape, 0.01, np.float32) for name, shape in factors.items()},
        folder / "adapter_model.safetensors",
    )
    plan = make_plan(base, {"lm": folder}, DELLA, seed=1)
    assert plan.problems == ()
    assert [("trained for the base org/other-7b" in warning) for warning in plan.warnings] == [True]
    assert (plan.facts["models"][1]["parameters"], plan.facts["models"][1]["dtypes"]) == (64, "adapter")
    assert plan.facts["lineage"]["lm"]["verdict"] == "unknown"


def test_an_expert_called_base_is_an_expert(base, experts):
    plan = make_plan(base, {"base": experts["lm"]}, DELLA, seed=1)
    assert (plan.problems, list(plan.facts["lineage"])) == ((), ["base"])


def test_a_tokenizer_of_nobody_is_a_problem(base, experts):
    (problem,) = make_plan(base, experts, DELLA, seed=1, tokenizer="code").problems
    assert "tokenizer=code: no such expert" in problem
