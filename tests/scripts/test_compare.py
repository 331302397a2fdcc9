"""`python -m scripts.compare`: what it prints of two runs, how it finds them, and what it refuses."""

import json
import math
import re

import pytest

from della.compact import write_compact
from della.record import load_records
from scripts.compare import quoted, with_runs
from tests.scripts.comparing import write_outcomes, write_run

ALL = set(range(40))
FEW = ALL - set(range(10, 22))  # right on 28 of 40


@pytest.fixture
def work(tmp_path):
    return tmp_path / "work"


@pytest.fixture
def runs(work):
    """Two records: A right on problems 0 to 29, B on 10 to 31 and 35: B alone on 30, 31, 35, A alone on 0 to 9."""
    records = work / "records"
    return [write_run(records, set(range(30)), seed=1), write_run(records, {*range(10, 32), 35}, seed=2)]


def cells(line: str) -> list[str]:
    return re.split(r"\s{2,}", line.strip())


def test_two_runs_are_compared_by_hand(call, work, runs):
    """A 30 of 40, B 23 of 40; A alone 10, B alone 3: difference 7/40 = 17.5 points; exact p
    2 (1 + 13 + 78 + 286) / 2^13 = 0.0923, and two metrics with the same scores: Holm 0.1846."""
    ended = call("compare", *runs, f"paths.work={work}")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0].startswith("A  LM+Math della ")
    assert lines[1].endswith(f"seed 2, tiny 0 [{runs[1]}]")
    row = cells(next(line for line in lines if line.startswith("A - B  gsm8k      flexible")))
    assert row[:4] == ["A - B", "gsm8k", "flexible", "40"]
    assert (row[4], row[6]) == ("75.0", "57.5")
    assert row[8].startswith("+17.5 [")
    assert row[9:13] == ["10", "3", "0.092", "0.185"]
    assert float(row[13]) == pytest.approx(26, abs=3)
    assert sum("cannot be told apart at n=40" in line for line in lines) == 2
    assert "Holm: p corrected for the 2 comparisons of this table" in ended.out


def test_a_clear_difference_is_said_in_one_sentence(call, work):
    """A right everywhere, B on 28 of 40: 12 to 0, p = 2 / 4096, twice that after Holm."""
    ids = [write_run(work / "records", right, seed=seed) for seed, right in ((1, ALL), (2, FEW))]
    said = call("compare", *ids, f"paths.work={work}").out
    assert "gsm8k flexible: A scores 30.0 points higher than B (A - B between +1" in said
    turned = call("compare", *reversed(ids), f"paths.work={work}").out
    assert "gsm8k flexible: B scores 30.0 points higher than A (A - B between -4" in turned


def test_equal_runs_are_not_called_equal_beyond_what_the_prompts_can_show(call, work):
    """No discordant prompt of 40: 7.9 / 40 = 19.6 points or so would still be missed now and then."""
    ids = [write_run(work / "records", ALL, seed=seed) for seed in (1, 2)]
    said = call("compare", *ids, f"paths.work={work}").out
    assert "their scores being equal on every prompt; a true difference below 19." in said


def test_the_prompts_that_differ_are_shown_with_both_outputs(call, work, runs):
    said = call("compare", *runs, f"paths.work={work}", "show=4").out
    assert "gsm8k flexible: A higher on 10 prompts, B on 3; 4 shown" in said
    assert re.findall(r"id (\d+): A (\d), B (\d)", said) == [
        ("0", "1", "0"),
        ("1", "1", "0"),
        ("30", "0", "1"),
        ("31", "0", "1"),
    ]
    assert "    A Step by step. The answer is: 2." in said
    assert "    B Step by step. The answer is: 999." in said
    assert "id 0" not in call("compare", *runs, f"paths.work={work}", "show=0").out


def test_outputs_are_cut_in_the_middle_and_control_characters_are_written_out(call, work, tmp_path):
    one = write_outcomes(tmp_path / "one.json", ALL)
    found = json.loads(one.read_text())
    found["outcomes"]["gsm8k"]["outputs"][10] = "begin\x1b[31m\n" + "x" * 1000 + " the end"
    one.write_text(json.dumps(found))
    other = write_outcomes(tmp_path / "other.json", FEW)
    said = call("compare", one, other, f"paths.work={work}").out
    (line,) = [line for line in said.splitlines() if line.startswith("    A begin")]
    assert r"begin\x1b[31m xxx" in line
    assert line.endswith("xxx the end")
    assert " ... " in line
    assert len(line) < 300


def test_a_run_is_found_by_the_start_of_its_id_by_its_file_and_in_a_compact_file(call, work, runs, tmp_path):
    compact = tmp_path / "results" / "tiny" / "demo.jsonl"
    write_compact(compact, load_records(work / "records"), command="make", commit=None)
    (tmp_path / "results" / "bench").mkdir()
    (tmp_path / "results" / "bench" / "measurements.jsonl").write_text('{"seconds": 1}\n')
    plain = call("compare", *runs, f"paths.work={work}", "show=0").out
    ways = [
        [runs[0][:6], runs[1][:6], f"paths.work={work}"],
        [work / "records" / f"{runs[0]}.json", work / "records" / f"{runs[1]}.json"],
        [f"{compact}:{runs[0][:6]}", f"{compact}:{runs[1]}"],
        [runs[0], runs[1], f"paths.results={tmp_path / 'results'}", "paths.work=none"],
        [f"runs=[{runs[0]},{runs[1]}]", f"paths.work={work}"],
    ]
    for way in ways:
        assert call("compare", *way, "show=0").out == plain
    said = call("compare", *ways[2], "show=1").out
    assert "    A (output not kept)" in said


def test_an_id_that_several_runs_begin_with_is_refused_with_their_ids(call, work):
    """Of 17 runs two begin with the same of 16 digits."""
    ids = [write_run(work / "records", ALL, seed=seed) for seed in range(17)]
    digit = next(i[0] for i in ids if sum(other.startswith(i[0]) for other in ids) > 1)
    ended = call("compare", digit, ids[0], f"paths.work={work}")
    several = sorted(i for i in ids if i.startswith(digit))
    assert ended.err.startswith(f"error: {digit}: {len(several)} runs begin so ({several[0]}, {several[1]}")


def test_outcomes_of_scripts_evaluate_are_compared(call, tmp_path):
    files = [write_outcomes(tmp_path / f"{name}.json", right) for name, right in (("one", ALL), ("two", FEW))]
    said = call("compare", *files).out
    assert said.startswith(f"A  one [{files[0]}]\nB  two [{files[1]}]\n")
    assert "A scores 30.0 points higher than B" in said


def test_verdicts_that_are_missing_are_left_out_and_counted(call, tmp_path):
    files = [write_outcomes(tmp_path / f"{name}.json", right) for name, right in (("one", ALL), ("two", FEW))]
    found = json.loads(files[0].read_text())
    found["outcomes"]["gsm8k"]["metrics"]["flexible"][0] = None
    files[0].write_text(json.dumps(found))
    assert "39 (+1 null)" in call("compare", *files).out


def test_a_metric_without_any_common_verdict_is_named(call, tmp_path):
    files = [write_outcomes(tmp_path / f"{name}.json", ALL) for name in ("one", "other")]
    found = json.loads(files[1].read_text())
    found["outcomes"]["gsm8k"]["metrics"]["flexible"] = [None] * 40
    files[1].write_text(json.dumps(found))
    assert "not compared: A - B gsm8k flexible, as no prompt has a score in both" in call("compare", *files).out


NO_SCORE, NO_LISTS = "gsm8k flexible has a score that is", "gsm8k has no ids, groups, metrics and outputs of one"
DAMAGED = {
    "a text": ("outcomes.gsm8k.metrics.flexible", ["1"] * 40, NO_SCORE),
    "nan": ("outcomes.gsm8k.metrics.flexible", [math.nan] * 40, NO_SCORE),
    "no texts": ("outcomes.gsm8k.outputs", [None] * 40, "gsm8k has an id, a group or an output that is no text"),
    "no metric": ("outcomes.gsm8k.metrics", {}, NO_LISTS),
    "a list of versions": ("versions", [], "its inputs or versions are not what scripts.evaluate"),
    "inputs as text": ("inputs", "data", "its inputs or versions are not what scripts.evaluate"),
}


@pytest.mark.parametrize(("place", "value", "told"), DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_of_outcomes_is_one_line(place, value, told, call, tmp_path):
    files = [write_outcomes(tmp_path / f"{name}.json", ALL) for name in ("one", "other")]
    found = inner = json.loads(files[1].read_text())
    *outer, last = place.split(".")
    for key in outer:
        inner = inner[key]
    inner[last] = value
    files[1].write_text(json.dumps(found))
    ended = call("compare", *files)
    assert (ended.code, ended.out) == (2, "")
    assert re.fullmatch(f"error: {files[1]}: {told}.*\n", ended.err)


def test_several_runs_are_compared_with_the_first_and_corrected_together(call, work, runs):
    third = write_run(work / "records", ALL, seed=3)
    said = call("compare", *runs, third, f"paths.work={work}", "show=0").out
    assert "A - B  gsm8k" in said
    assert "A - C  gsm8k" in said
    assert "B - C" not in said
    assert "the 4 comparisons of this table" in said


def test_only_what_is_asked_for_is_compared(call, work, runs):
    said = call("compare", *runs, f"paths.work={work}", "only=[gsm8k.strict]").out
    assert "strict" in said
    assert "flexible" not in said


def test_runs_of_different_engines_are_compared_with_a_note(call, work, runs):
    other = write_run(work / "records", ALL, seed=4, engine={"name": "vllm"})
    said = call("compare", runs[0], other, f"paths.work={work}").out
    assert "note: the runs were generated by different engines or settings" in said


DIFFERENT = {
    "other data": ({"data": "e" * 64}, "gsm8k data dddddddddddd... and eeeeeeeeeeee..."),
    "another version": ({"version": 2}, "gsm8k version 1 and 2"),
    "another limit": ({"limit": 20, "n": 20}, "gsm8k limit none and 20; gsm8k 40 and 20 prompts"),
    "a longer answer": ({"max_new_tokens": 512}, "gsm8k max_new_tokens 48 and 512"),
    "another split": ({"split": "dev"}, "gsm8k split test and dev"),
    "other prompts": ({"prompts": "wizard_13b"}, "gsm8k prompts tiny and wizard_13b"),
    "another protocol": ({"protocol": "fixed"}, None),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_runs_that_did_not_answer_the_same_prompts_are_refused_by_name(what, call, work, runs):
    """An option that only one run's config has does not tell them apart: it came with a later version."""
    changes, told = DIFFERENT[what]
    other = write_run(work / "records", ALL, seed=9, **changes)
    ended = call("compare", runs[0], other, f"paths.work={work}")
    if told is None:
        assert ended.code == 0
        return
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == (
        f"error: {runs[0]} and {other} did not answer the same prompts ({told}); evaluate both alike\n"
    )


def test_a_judge_matters_only_where_it_judges(call, work, runs):
    other = write_run(work / "records", ALL, seed=9, judge="annotations")
    assert call("compare", runs[0], other, f"paths.work={work}").code == 0


MISTAKES = {
    "no run": ([], "name two runs: python -m scripts.compare RUN_A RUN_B"),
    "one run": (["{a}"], "name two runs"),
    "an unknown id": (["{a}", "0000"], "0000: no run of {work}/records or of the files under results begins so"),
    "the same run twice": (["{a}", "{work}/records/{a}.json"], "is named twice"),
    "no file": (["{a}", "nix.json"], "nix.json: no such file, and no id of a run"),
    "no JSON": (["{a}", "{broken}"], "not JSON"),
    "another JSON": (["{a}", "{list}"], "neither a run's record nor what scripts.evaluate out=FILE writes"),
    "another object": (["{a}", "{other}"], "neither a run's record nor what"),
    "outcomes cut short": (["{a}", "{short}"], "gsm8k has no ids, groups, metrics and outputs of one length"),
    "a compact file of two runs": (["{a}", "{compact}"], "holds 2 runs, 2 of them; write FILE.jsonl:ID"),
    "a compact file without it": (["{a}", "{compact}:0000"], "holds 2 runs, 0 of them begin with 0000"),
    "a failed run": (["{a}", "{failed}"], "failed (no memory); run it again first"),
    "no common benchmark": (["{a}", "{mbpp}"], "no benchmark in common"),
    "a metric there is not": (
        ["{a}", "{b}", "only=[gsm8k.numeric]"],
        "only=gsm8k.numeric: write some of gsm8k, gsm8k.f",
    ),
    "a negative count": (["{a}", "{b}", "show=-1"], "show=-1: write a whole number from 0"),
    "a misspelt option": (["{a}", "{b}", "shwo=1"], "did you mean show?"),
    "runs in both ways": (["{a}", "runs=[{b}]"], "cannot be read; write key=value"),
    "a page in no folder": (["{a}", "{b}", "html=nix/page.html"], "html=nix/page.html: nix is no folder"),
    "a page that is a folder": (["{a}", "{b}", "html=."], "html=.: this is a folder"),
    "data that is not there": (["{a}", "{b}", "html=page.html", "data=nix"], "no test data of gsm8k"),
}


@pytest.fixture
def named(work, runs, tmp_path):
    files = {name: tmp_path / f"{name}.json" for name in ("broken", "list", "other", "short", "failed", "mbpp")}
    files["broken"].write_text("{")
    files["list"].write_text("[]")
    files["other"].write_text("{}")
    write_outcomes(files["short"], ALL)
    cut = json.loads(files["short"].read_text())
    cut["outcomes"]["gsm8k"]["outputs"].pop()
    files["short"].write_text(json.dumps(cut))
    (record, *_) = records = load_records(work / "records")
    files["failed"].write_text(json.dumps(record | {"status": "failed", "error": "no memory"}))
    files["mbpp"].write_text(json.dumps(cut | {"outcomes": {"mbpp": json.loads(json.dumps(whole(cut)))}}))
    compact = tmp_path / "two.jsonl"
    write_compact(compact, records, command="make", commit=None)
    return {"a": runs[0], "b": runs[1], "work": work, "compact": compact, **files}


def whole(cut: dict) -> dict:
    """The outcome of `cut` with as many outputs as ids again."""
    outcome = cut["outcomes"]["gsm8k"]
    return outcome | {"outputs": [*outcome["outputs"], ""]}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_nothing_is_written(mistake, call, named, tmp_path):
    typed, told = MISTAKES[mistake]
    ended = call("compare", *(word.format(**named) for word in typed), f"paths.work={named['work']}")
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert told.format(**named) in ended.err
    assert (ended.code, ended.out) == (2, "")
    assert not list(tmp_path.rglob("*.html"))


def test_runs_may_stand_alone_on_the_line_and_ids_are_no_numbers():
    """12e4 and 0123 would be numbers to Hydra."""
    assert with_runs(["12e4", "show=3", "a b.json"]) == ["show=3", "runs=['12e4','a b.json']"]
    assert with_runs(["runs=[0123, 12e4]", "--help"]) == ["--help", "runs=['0123','12e4']"]
    assert with_runs(["runs=['a','b']"]) == ["runs=['a','b']"]
    assert with_runs(["one", "runs=[two]"]) == ["one", "runs=[two]"]
    assert with_runs(["--help", "show=2"]) == ["--help", "show=2"]
    assert quoted("it's") == r"'it\'s'"


def test_help_says_how_runs_are_named(call):
    said = call("compare", "--help").out
    assert "FILE.jsonl:ID" in said
    assert "prompts with different scores" in said
