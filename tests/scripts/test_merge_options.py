"""`python -m scripts.merge`: each option of the command does to the merged folder what its help says."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from della.checkpoint import Checkpoint
from della.merge import merge_tensors
from della.methods import make_method
from della.policy import Policy
from della.tokenizer import tokenizer_files
from della.vocabulary import has_token_rows

DELLA = ("method=della", "method.drop_rate=0.5", "method.epsilon=0.2", "seed=1")
WEIGHTS = "model.safetensors"


@pytest.fixture
def named(pico) -> list[str]:
    """A base and two of the three experts of the family."""
    return options(pico.base, pico.models["lm"], pico.models["math"])


def options(base: Path, lm: Path, math: Path) -> list[str]:
    return [f"experts.base={base}", f"experts.models.lm={lm}", f"experts.models.math={math}"]


def changed(folder: Path, out: Path, change) -> Path:
    """A copy of a model folder with each tensor changed by `change(name, tensor)`."""
    shutil.copytree(folder, out)
    tensors = {name: change(name, tensor).contiguous() for name, tensor in load_file(folder / WEIGHTS).items()}
    save_file(tensors, out / WEIGHTS, {"format": "pt"})
    return out


def rates_of(out: Path) -> dict[str, dict[str, float]]:
    """Tensor -> expert -> realised drop rate."""
    return json.loads((out / "merge.json").read_text())["drop_rate_per_tensor"]


def refused(ended, *said: str) -> None:
    """Exit code 2, nothing on standard output and one line on standard error, with all of `said` in it."""
    assert (ended.code, ended.out) == (2, ""), ended
    assert len(ended.err.splitlines()) == 1, ended.err
    for part in said:
        assert part in ended.err


def test_a_weight_is_that_of_the_policy(call, pico, named, tmp_path):
    out = tmp_path / "merged"
    assert call("merge", *named, *DELLA, "weights.lm=0.5", f"out={out}").code == 0
    merged = load_file(out / WEIGHTS)
    experts = {name: Checkpoint(pico.models[name]) for name in ("lm", "math")}
    method = make_method("della", drop_rate=0.5, epsilon=0.2)
    expected = {
        part.name: part.tensor
        for part in merge_tensors(Checkpoint(pico.base), experts, Policy(method, {"lm": 0.5}), seed=1)
    }
    assert merged.keys() == expected.keys()
    assert all(torch.equal(merged[name], expected[name]) for name in merged)
    unweighted = list(merge_tensors(Checkpoint(pico.base), experts, method, seed=1))
    assert any(not torch.equal(merged[part.name], part.tensor) for part in unweighted)
    assert json.loads((out / "merge.json").read_text())["method"]["weights"] == {"lm": 0.5}


def test_weights_of_task_arithmetic_worked_by_hand(call, pico, named, tmp_path):
    """base + (lm - base) / 2 + 0 (math - base) = (base + lm) / 2: the sum of task arithmetic is not normalized."""
    out = tmp_path / "merged"
    weights = ("method=task_arithmetic", "method.lambda_=1.0", "weights.lm=0.5", "weights.math=0.0")
    assert call("merge", *named, *weights, f"out={out}").code == 0
    merged, base, lm = (load_file(folder / WEIGHTS) for folder in (out, pico.base, pico.models["lm"]))
    for name, tensor in merged.items():
        torch.testing.assert_close(tensor, (base[name] + lm[name]) / 2, rtol=0, atol=1e-6)


def test_excluded_tensors_are_not_pruned_and_the_others_are(call, named, tmp_path):
    """Half is dropped of a tensor with hundreds of values or more, to within the tenth that chance allows there."""
    out = tmp_path / "merged"
    assert call("merge", *named, *DELLA, "exclude=['*norm*']", f"out={out}").code == 0
    rates = rates_of(out)
    norms = {name for name in rates if "norm" in name}
    assert norms
    assert norms < rates.keys()
    for name, of in rates.items():
        assert sorted(of) == ["lm", "math"]
        assert all(rate == 0 if name in norms else 0.4 < rate < 0.6 for rate in of.values()), name


def test_only_included_tensors_are_pruned_and_exclude_comes_on_top(call, named, tmp_path):
    out = tmp_path / "merged"
    patterns = ("include=['*mlp*']", "exclude=['*down_proj*']")
    assert call("merge", *named, *DELLA, *patterns, f"out={out}").code == 0
    pruned = {name for name, of in rates_of(out).items() if min(of.values()) > 0}
    assert pruned == {name for name in rates_of(out) if "mlp" in name and "down_proj" not in name}
    assert pruned


def test_base_rows_cuts_off_the_rows_that_an_expert_added(call, pico, named, tmp_path):
    """Masks are drawn row by row of what the base has: the merge is that of the expert without its two more rows."""

    def longer(name, tensor):
        return torch.cat([tensor, torch.ones(2, *tensor.shape[1:])]) if has_token_rows(name) else tensor

    lm = changed(pico.models["lm"], tmp_path / "longer", longer)
    models = options(pico.base, lm, pico.models["math"])
    refused(call("merge", *models, *DELLA, f"out={tmp_path / 'refused'}"), "vocab=base_rows")
    for out, arguments in {"short": named, "cut": [*models, "experts.vocab=base_rows"]}.items():
        assert call("merge", *arguments, *DELLA, f"out={tmp_path / out}").code == 0
    assert (tmp_path / "cut" / WEIGHTS).read_bytes() == (tmp_path / "short" / WEIGHTS).read_bytes()


def test_the_tokenizer_is_that_of_the_expert_named(call, pico, tmp_path):
    lm = tmp_path / "lm"
    shutil.copytree(pico.models["lm"], lm)
    (lm / "chat_template.jinja").write_text("{{ messages[0]['content'] }}")
    settings = json.loads((lm / "tokenizer_config.json").read_text())
    (lm / "tokenizer_config.json").write_text(json.dumps(settings | {"model_max_length": 7}))
    models = options(pico.base, lm, pico.models["math"])
    for source, folder in {"lm": lm, "base": pico.base}.items():
        out = tmp_path / f"from-{source}"
        assert call("merge", *models, *DELLA, f"tokenizer={source}", f"out={out}").code == 0
        assert tokenizer_files(out) == tokenizer_files(folder)
        for file in tokenizer_files(folder):
            assert (out / file).read_bytes() == (folder / file).read_bytes(), file
        assert json.loads((out / "merge.json").read_text())["tokenizer"] == source
    assert "chat_template.jinja" in tokenizer_files(tmp_path / "from-lm")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("weights.code=0.5", ("weights.code", "lm, math")),
        ("weights.lm=.nan", ("weights.lm",)),
        ("include=['*nothing*']", ("include", "'*nothing*'")),
        ("exclude=['*norm*','*nothing*']", ("exclude", "'*nothing*'")),
        ("tokenizer=code", ("tokenizer=code", "base, lm, math")),
    ],
)
def test_a_name_or_pattern_that_fits_nothing_is_refused_in_one_line(option, said, call, named, tmp_path):
    refused(call("merge", *named, *DELLA, option, f"out={tmp_path / 'results' / 'merged'}"), *said)
    assert not (tmp_path / "results").exists()


def test_a_wrong_base_is_refused_before_anything_is_written_and_merged_where_check_is_off(
    call, pico, tmp_path, monkeypatch
):
    """Random matrices of the same size are orthogonal to the experts' own, as those of an unrelated model are."""
    monkeypatch.setattr("scripts.merge.LONG", 0)  # as if two experts of this size took long to merge
    generator = torch.Generator().manual_seed(0)

    def unrelated(name, tensor):
        return torch.randn(tensor.shape, generator=generator) * tensor.std() if tensor.ndim == 2 else tensor

    base = changed(pico.base, tmp_path / "unrelated", unrelated)
    models = options(base, pico.models["lm"], pico.models["math"])
    out = tmp_path / "results" / "merged"
    ended = call("merge", *models, *DELLA, f"out={out}")
    *warnings, error = ended.err.splitlines()
    assert all(line.startswith("warning: ") for line in warnings)
    refused(dataclasses.replace(ended, err=error), "error: expert lm", "expert math", str(base), "experts.base")
    assert not out.parent.exists()

    assert call("merge", *models, *DELLA, "check=false", f"out={out}").code == 0
    assert (out / WEIGHTS).is_file()


def test_the_right_base_passes_the_check_and_gives_the_bytes_of_a_merge_without_it(call, named, tmp_path, monkeypatch):
    monkeypatch.setattr("scripts.merge.LONG", 0)
    for check in ("true", "false"):
        assert call("merge", *named, *DELLA, f"check={check}", f"out={tmp_path / check}").code == 0
    assert (tmp_path / "true" / WEIGHTS).read_bytes() == (tmp_path / "false" / WEIGHTS).read_bytes()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_refused_in_one_line(call, named, tmp_path):
    out = tmp_path / "results" / "merged"
    refused(call("merge", *named, *DELLA, "device=cuda", f"out={out}"), "device=cuda", "device=cpu")
    assert not out.parent.exists()
