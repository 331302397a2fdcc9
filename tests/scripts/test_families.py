"""Files of configs/experts for models that exist: what they name, and what a family decides about merging and runs."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from della.errors import InputError
from scripts.experts_settings import Experts
from scripts.family import open_family
from scripts.fetching.sources import home_of, lock_of, places_of
from scripts.points import Point
from scripts.run import single_point
from scripts.schema import Unmerged
from scripts.session import Session
from scripts.swap import weights_for
from tests.della.models import save_llama
from tests.scripts.test_configs import CONFIGS, composed

FROM_THE_HUB = ("wizard_13b", "wizardcoder_13b", "mergebench_3b")


@pytest.mark.parametrize("name", FROM_THE_HUB)
def test_a_family_from_the_hub_names_its_models_and_their_commits(name):
    """Every commit has 40 digits; a repository without one is said to be `main` in the file's header."""
    experts = composed("experts", f"experts={name}").experts
    places = places_of(experts, Path(".work"))
    assert experts.family == name
    assert places[0].name == "base"
    assert {place.folder.parent for place in places} == {Path(".work/experts") / name}
    unpinned = [place.name for place in places if not place.source.is_pinned]
    assert unpinned == (["code", "lm", "math"] if name == "mergebench_3b" else [])
    assert (experts.merge_dtype, experts.generation_dtype) == (
        ("float16", "bfloat16") if name != "mergebench_3b" else ("bfloat16", "bfloat16")
    )


def test_the_template_explains_every_field():
    text = (CONFIGS / "experts" / "template.yaml").read_text()
    named = re.findall(r"^(\w+):", text, re.MULTILINE)
    assert sorted(named) == sorted(field.name for field in fields(Experts))


def test_a_folder_named_for_a_model_stands_before_the_hub():
    typed = ("experts=wizard_13b", "experts.path=/data/w", "+experts.models.lm=/mine/lm", "experts.base=/mine/base")
    experts = composed("experts", *typed).experts
    places = {place.name: place for place in places_of(experts, Path(".work"))}
    assert {name: str(place.folder) for name, place in places.items()} == {
        "base": "/mine/base",
        "lm": "/mine/lm",
        "math": "/data/w/math",
        "code": "/data/w/code",
    }
    assert [name for name, place in places.items() if place.source] == ["code", "math"]
    assert lock_of(home_of(experts, Path(".work"))) == Path("/data/w.lock.json")


def test_a_family_decides_the_dtype_of_generation_unless_the_engine_is_told():
    assert composed("run", "experts=tiny_pico").engine.dtype == "float32"
    assert composed("run", "experts=wizard_13b").engine.dtype == "bfloat16"
    assert composed("report", "experts=wizard_13b", "engine=hf").engine.dtype == "bfloat16"
    assert composed("run", "experts=wizard_13b", "engine.dtype=float16").engine.dtype == "float16"


def test_what_a_run_says_of_itself_grows_only_where_something_is_unusual(work):
    """The dtype of merges and the metric that tables show: unsaid at their defaults, another run otherwise."""
    plain = ("experts=tiny_pico", "experts.merge=[]", "method=unmerged", f"paths.work={work}")
    served = ("judge=served", "judge.model=a", "judge.gsm8k=true")
    others = (("experts.merge_dtype=float16",), (*served, "benchmarks.gsm8k.metric=judged"), served)

    def described(*more: str) -> dict:
        session = Session(composed("run", *plain, *more))
        return session.describe(single_point(session.config, []))["config"]

    usual = described()
    assert "merge_dtype" not in usual
    assert "metrics" not in usual
    first, judged, also = (described(*more) for more in others)
    assert first == usual | {"merge_dtype": "float16"}
    assert judged["metrics"] == {"gsm8k": "judged"}
    assert "metrics" not in also


MISTAKES = {
    "a judged metric without its judge": (
        "benchmarks.gsm8k.metric=judged",
        "benchmarks.gsm8k.metric=judged goes with judge.gsm8k=true; or write flexible",
    ),
    "a path without a hub": ("experts.path=/x", "experts.path goes with experts.hub; name folders as experts.base=DIR"),
    "an unknown dtype of generation": ("experts.generation_dtype=int8", "experts.generation_dtype=int8: write one of"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(mistake, call, work):
    typed, told = MISTAKES[mistake]
    ended = call("run", "experts=tiny_pico", "engine=hf", "tracking=none", f"paths.work={work}", *typed.split())
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert told in ended.err


def test_a_sweep_without_the_prompts_to_choose_by_says_both_ways_out_before_it_opens_anything(call, tmp_path):
    """The family is not there either: the missing file is told first. With select=test no dev file is asked for."""
    for name, file in (("gsm8k", "train.jsonl"), ("mbpp", "mbpp.jsonl")):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / file).write_text("")
    (tmp_path / "data" / "alpaca_eval").mkdir()
    typed = (
        "experts=wizard_13b",
        f"experts.data={tmp_path / 'data'}",
        "engine=hf",
        "tracking=none",
        "sweep=main_table",
    )
    ended = call("run", *typed, f"paths.work={tmp_path / 'work'}")
    assert ended.code == 2
    assert ended.err == (
        f"error: no dev data of alpaca_eval: put dev.json or val.json into {tmp_path}/data/alpaca_eval, or name the "
        "right data folder; or choose on the test prompts, as the paper did: select=test (with make: SELECT=test)\n"
    )
    ended = call("run", *typed, f"paths.work={tmp_path / 'work'}", "select=test")
    assert "the wizard_13b family's base is not there" in ended.err


@pytest.fixture(scope="module")
def padded(tmp_path_factory):
    """A base with 48 rows, and an expert with 49 in a pickle: as WizardLM's beside Llama-2's."""
    root = tmp_path_factory.mktemp("padded")
    base = save_llama(root / "base", 0, tie_word_embeddings=False)
    expert = save_llama(root / "lm", 1, tie_word_embeddings=False, vocab_size=49)
    from safetensors.torch import load_file

    torch.save(load_file(expert / "model.safetensors"), expert / "pytorch_model.bin")
    (expert / "model.safetensors").unlink()
    return base, expert


@pytest.mark.parametrize("tensor_parallel_size", [1, 2])
def test_an_expert_with_more_rows_is_evaluated_alone_with_the_bases(padded, tensor_parallel_size, tmp_path):
    """In memory its rows are cut off; where the engine reads folders, it is written as one that the engine takes."""
    base, expert = padded
    typed = [f"experts.base={base}", f"+experts.models.lm={expert}", "experts.vocab=base_rows"]
    typed += [f"engine.tensor_parallel_size={tensor_parallel_size}", f"paths.work={tmp_path}"]
    config = composed("run", "experts=folders", *typed)
    session = Session(config)
    point = Point(0, ("lm",), "unmerged", Unmerged(), None, "test", None, "merge")
    with weights_for(point, session.family(0), config, session.merged) as (weights, _):
        if tensor_parallel_size == 2:
            from safetensors.torch import load_file

            weights = load_file(weights / "model.safetensors")
        theirs = torch.load(expert / "pytorch_model.bin", weights_only=True)
        assert sorted(weights) == sorted(theirs)
        for name, tensor in weights.items():
            rows = 48 if theirs[name].shape[0] == 49 else theirs[name].shape[0]
            assert torch.allclose(tensor, theirs[name][:rows], atol=1e-6), name


def test_merges_have_the_familys_dtype_on_the_way_into_an_engine_and_into_a_folder(padded, call, tmp_path):
    base, expert = padded
    typed = [
        f"experts.base={base}",
        f"experts.models.lm={expert}",
        "experts.vocab=base_rows",
        "experts.merge_dtype=float16",
    ]
    out = tmp_path / "merged"
    assert call("merge", *typed, "method=average", f"out={out}").code == 0
    from safetensors.torch import load_file

    assert {tensor.dtype for tensor in load_file(out / "model.safetensors").values()} == {torch.float16}
    assert call("merge", *typed, "method=average", "dtype=bfloat16", f"out={tmp_path / 'other'}").code == 0
    other = load_file(tmp_path / "other" / "model.safetensors")
    assert {tensor.dtype for tensor in other.values()} == {torch.bfloat16}


def test_an_expert_may_not_be_called_base():
    with pytest.raises(InputError, match=r"experts\.models\.base: the base is named as experts\.base=DIR"):
        composed("experts", "experts=folders", "+experts.models.base=x")


def test_a_family_of_folders_is_opened_from_where_they_are(padded, tmp_path):
    base, expert = padded
    config = composed("experts", "experts=folders", f"experts.base={base}", f"+experts.models.lm={expert}")
    with pytest.raises(InputError, match="extra vocabulary rows"):
        open_family(config.experts, 0, tmp_path)
