"""Both engines give the same greedy outputs; where they do not, the two tokens are tied within float error."""

import importlib.util
from pathlib import Path

import pytest

from della.tiny.family import build_family
from della.tiny.recipe import RECIPES
from eval.engines import open_engine
from eval.engines.agreement import Difference, Gap, differences, measure_gap
from eval.tasks.data import read_documents
from eval.tasks.prompts import FAMILIES
from tests.eval.engines.models import make_model

BENCHMARKS = ("gsm8k", "mbpp", "alpaca_eval")
LIMIT = 48


def real_prompts(data: Path, each: int) -> list[str]:
    """The papers' prompts of the first documents of each benchmark."""
    return [
        FAMILIES["wizard_13b"][name].prompt(document)
        for name in BENCHMARKS
        for document in read_documents(name, data, "test")[:each]
    ]


def answer_both(folder: Path, prompts: list[str]) -> tuple[list[list[int]], list[list[list[int]]], int]:
    """Token ids of the prompts, of both engines' answers, and of EOS."""
    answers = []
    for name in ("vllm", "hf"):
        engine = open_engine(name, folder, dtype="float32")
        ids = [engine.lm.encode(prompt) for prompt in prompts]
        room = [min(LIMIT, engine.context - len(one)) for one in ids]
        assert min(room) > 0
        answers.append(engine.generate(ids, room, ()))
        engine.close()
    return ids, answers, engine.eos_ids[0]


def check(folder: Path, prompts: list[str]) -> None:
    """At least 99 % the same, and every difference a tie."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    ids, (first, second), eos = answer_both(folder, prompts)
    found = differences(first, second, eos)
    gaps = [measure_gap(folder, ids[one.prompt], one) for one in found]
    for one, gap in zip(found, gaps, strict=True):
        print(f"prompt {one.prompt}, token {len(one.common)}: {one.first} or {one.second}, {gap}")
    assert [gap for gap in gaps if not gap.is_tie] == []
    assert len(found) <= 0.01 * len(prompts), gaps


@pytest.mark.parametrize("each", [10, pytest.param(200, marks=pytest.mark.full)])
def test_a_random_model_answers_the_papers_prompts_alike_in_both_engines(each, real_data, tmp_path):
    """30 prompts, 600 with the full count: byte-level tokens, so contexts of thousands."""
    check(make_model(tmp_path / "model", seed=3, context=8192), real_prompts(real_data, each))


@pytest.mark.parametrize("recipe", ["pico", pytest.param("minute", marks=pytest.mark.full)])
def test_a_trained_model_answers_its_benchmarks_alike_in_both_engines(recipe, tmp_path):
    """The Math expert, on the dev and test prompts of the three benchmarks: 144 of a pico family, 720 of a minute's."""
    family = build_family(tmp_path / "experts", 0, RECIPES[recipe], progress=False)
    prompts = [
        FAMILIES["tiny"][name].prompt(document)
        for name in BENCHMARKS
        for split in ("dev", "test")
        for document in read_documents(name, family.data, split)
    ]
    assert len(prompts) == 6 * RECIPES[recipe].dev
    check(family.models["math"], prompts)


def test_answers_part_at_their_first_other_token_or_where_one_ends():
    """EOS is 2."""
    assert differences([[5, 6], [7]], [[5, 6], [7]], eos=2) == []
    assert differences([[5, 6, 7]], [[5, 9, 7]], eos=2) == [Difference(0, (5,), 6, 9)]
    assert differences([[5], [1]], [[5], [1, 4]], eos=2) == [Difference(1, (1,), 2, 4)]
    with pytest.raises(ValueError, match="answer 0 ends in one engine only"):
        differences([[1]], [[1, 4]], eos=None)


def test_a_gap_is_measured_in_float64_and_a_tie_is_within_the_error_of_float32(pico):
    """Tokens the model tells apart are no tie; a token beside itself is one, with a gap of exactly 0."""
    engine = open_engine("hf", pico, dtype="float32")
    prompt = engine.lm.encode("Tom has apples")
    (answer,) = engine.generate([prompt], [2], ())
    other = 5 if answer[1] != 5 else 6
    engine.close()
    apart = measure_gap(pico, prompt, Difference(0, (answer[0],), answer[1], other))
    same = measure_gap(pico, prompt, Difference(0, (answer[0],), answer[1], answer[1]))
    assert apart.gap > 1e-3
    assert not apart.is_tie
    assert same == Gap(0.0, apart.error)
    assert same.is_tie
    assert 0 < apart.error < 1e-4
