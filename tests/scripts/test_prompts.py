"""`python -m scripts.prompts`: what a model is shown, one JSON object per line."""

import json
import os
import shutil

import pytest

from eval.tasks.prompts import find_format

REAL_DATA = os.environ.get("DELLA_DATA_DIR")  # the tests of the commands run without it
QUESTIONS = [{"question": f"How many are {n} and {n}?", "answer": f"#### {2 * n}"} for n in range(30)]
PROGRAMS = [{"task_id": n, "text": f"Return    {n}.", "test_list": [f"assert f() == {n}"] * 3} for n in range(11, 14)]


@pytest.fixture
def data(tmp_path):
    """Thirty questions, three programs of our own."""
    for name, rows in (("gsm8k", QUESTIONS), ("mbpp", PROGRAMS)):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "data"


@pytest.fixture
def shown(call, data):
    """The objects that the command prints."""

    def run(*arguments):
        ended = call("prompts", f"data={data}", *arguments)
        assert (ended.code, ended.err) == (0, "")
        return [json.loads(line) for line in ended.out.splitlines()]

    return run


def test_the_ids_asked_for_are_printed_in_their_order_with_stops_and_limits(shown):
    lines = shown("benchmark=mbpp", "ids=[13,11]")
    form = find_format("wizard_13b", "mbpp")
    assert lines == [
        {"id": str(row["task_id"]), "prompt": form.prompt(row), "stops": [], "max_new_tokens": 512}
        for row in (PROGRAMS[2], PROGRAMS[0])
    ]
    assert "Return\t13." in lines[0]["prompt"]


def test_without_ids_all_are_printed_and_random_ones_are_the_same_for_a_seed(shown):
    every = shown("benchmark=gsm8k")
    assert [line["id"] for line in every] == [str(n) for n in range(30)]
    one, again, other = (shown("benchmark=gsm8k", "random=20", f"seed={seed}") for seed in (0, 0, 1))
    assert one == again != other
    assert [every.index(line) for line in one] == sorted(every.index(line) for line in one)
    assert len({line["id"] for line in one}) == 20


@pytest.mark.parametrize("protocol", ["della", "fixed", "dare"])
def test_a_protocol_is_shown_as_it_is_evaluated(protocol, shown):
    form = find_format("wizard_13b" if protocol == "della" else f"wizard_13b/{protocol}", "gsm8k")
    (line,) = shown("benchmark=gsm8k", "ids=[7]", f"protocol={protocol}")
    assert line["prompt"] == form.prompt(QUESTIONS[7])
    assert (line["stops"], line["max_new_tokens"]) == (list(form.stops), form.max_new_tokens)


def test_another_family_and_the_folder_of_the_environment(call, data, monkeypatch):
    monkeypatch.setenv("DELLA_DATA_DIR", str(data))
    ended = call("prompts", "benchmark=gsm8k", "prompts=tiny", "ids=[0]")
    assert json.loads(ended.out)["prompt"] == "### Instruction:\nHow many are 0 and 0?\n\n### Response:"


def test_chat_prompts_are_shown_in_the_models_own_template(shown, pico, tmp_path):
    shutil.copytree(pico.base, tmp_path / "chat")
    file = tmp_path / "chat" / "tokenizer_config.json"
    template = "{% for m in messages %}<{{ m['role'] }}>{{ m['content'] }}{% endfor %}<assistant>"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": template}))
    (line,) = shown("benchmark=gsm8k", "ids=[3]", "prompts=chat", f"model={tmp_path / 'chat'}")
    assert line["prompt"].startswith("<user>How many are 3 and 3?\n\nThink step by step.")
    assert line["prompt"].endswith("<assistant>")


@pytest.mark.skipif(REAL_DATA is None, reason="DELLA_DATA_DIR is not set")
def test_the_published_problems_are_printed_from_the_published_files(call):
    ended = call("prompts", "benchmark=mbpp", "ids=[11,12]", f"data={REAL_DATA}")
    assert [json.loads(line)["id"] for line in ended.out.splitlines()] == ["11", "12"]
    ended = call("prompts", "benchmark=humaneval", "ids=[HumanEval/7]", f"data={REAL_DATA}")
    assert json.loads(ended.out)["max_new_tokens"] == 2048


MISTAKES = {
    "no benchmark": ("", "benchmark is not set; write benchmark=NAME, one of gsm8k, mbpp, alpaca_eval, humaneval"),
    "an unknown benchmark": ("benchmark=gsm9k", "benchmark=gsm9k: write one of gsm8k, mbpp, alpaca_eval, humaneval"),
    "an id that there is not": ("benchmark=mbpp ids=[11,9]", "ids: mbpp test has no '9'; its ids are 11 to 13"),
    "too many random ones": ("benchmark=gsm8k random=31", "random=31: there are 30 documents"),
    "none at random": ("benchmark=gsm8k random=0", "random=0: write a whole number from 1"),
    "ids and random": ("benchmark=gsm8k ids=[1] random=2", "write one of the two"),
    "an unknown split": ("benchmark=gsm8k split=train", "split=train: write one of dev, test"),
    "a split that is not there": ("benchmark=gsm8k split=dev", "put dev.jsonl or train.jsonl into"),
    "an unknown family": ("benchmark=gsm8k prompts=big", "prompts=big: write one of wizard_13b, tiny, chat"),
    "a family without the benchmark": ("benchmark=humaneval prompts=tiny", "the prompts tiny have no template"),
    "an unknown protocol": ("benchmark=gsm8k protocol=dela", "protocol=dela: write one of della, fixed, dare"),
    "a protocol of another family": ("benchmark=gsm8k prompts=tiny protocol=fixed", "goes with prompts=wizard_13b"),
    "chat without a model": ("benchmark=gsm8k prompts=chat", "prompts=chat and model=DIR"),
    "a model without chat": ("benchmark=gsm8k model=nix", "prompts=chat and model=DIR"),
    "a model that is not there": ("benchmark=gsm8k prompts=chat model=nix", "nix: no tokenizer_config.json"),
    "a model without a template": ("benchmark=gsm8k prompts=chat model={base}", "no chat template"),
    "no data folder": ("benchmark=gsm8k data=nix", "nix: no such folder of benchmark data"),
    "a misspelt option": ("benchmark=gsm8k id=[1]", "did you mean ids?"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_that_says_what_to_write(mistake, call, data, pico):
    typed, told = MISTAKES[mistake]
    ended = call("prompts", f"data={data}", *typed.format(base=pico.base).split())
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert told in ended.err
    assert (ended.code, ended.out) == (2, "")


@pytest.mark.parametrize(
    ("script", "typed", "told"),
    [
        ("run", "experts=tiny_pico experts.protocol=fixed", "protocol=fixed: goes with prompts=wizard_13b"),
        ("run", "experts=tiny_pico benchmarks=[humaneval]", "the prompts tiny have no template for humaneval"),
        ("run", "benchmarks.gsm8k.metric=flexibel", "benchmarks.gsm8k.metric=flexibel: write one of flexible, strict"),
        ("evaluate", "model=m protocol=x", "protocol=x: write one of della, fixed, dare"),
        ("evaluate", "model=m benchmarks=[humaneval] prompts=tiny", "the prompts tiny have no template for humaneval"),
        ("evaluate", "model=m benchmarks.gsm8k.metric=mergelm", "write one of flexible, strict, numeric"),
    ],
)
def test_the_other_commands_refuse_what_prompts_do_not_have_before_anything_is_opened(script, typed, told, call):
    ended = call(script, *typed.split())
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert told in ended.err


def test_dares_metric_goes_with_dares_protocol(call):
    """The next thing that is wrong is the model, which is not there."""
    ended = call("evaluate", "model=nix", "benchmarks.gsm8k.metric=mergelm", "protocol=dare")
    assert "nix: no such folder" in ended.err


def test_help_lists_the_options(call):
    ended = call("prompts", "--help")
    assert (ended.code, ended.err) == (0, "")
    for option in ("benchmark", "ids", "random", "seed", "split", "prompts", "protocol", "model", "data"):
        assert f"\n  {option} " in ended.out
