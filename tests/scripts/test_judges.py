"""Judges behind an endpoint, as the commands use them: what records say, what a dead endpoint leaves, mistakes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.judges import Judge, open_judge
from scripts.run import single_point
from scripts.session import Session
from tests.eval.pairs import by_hash
from tests.eval.scripted_endpoint import ScriptedEndpoint, completion, failure
from tests.scripts.test_configs import composed

ROOT = Path(__file__).resolve().parents[2]
RUN = (
    "experts=tiny_pico engine=hf tracking=none benchmarks=[gsm8k,alpaca_eval] limit=3 method=average paths.work={work} "
)
SERVED = "judge=served judge.model=scripted judge.first_wait_s=0.01 judge.attempts=2 judge.base_url={url} "


def both(question: str, times: int):
    """GSM8K's answers are wrong, AlpacaEval's ranked by hash."""
    return completion("It is wrong: [[B]]") if question.startswith("Question: ") else by_hash(question, times)


def read(folder: Path) -> dict:
    (path,) = (folder / "records").glob("*.json")
    return json.loads(path.read_text())


def test_a_run_records_who_judged_and_what_it_cost_and_never_the_key(call, work, monkeypatch):
    """Three prompts each; the same command again asks nobody, and a longer run only about what is new."""
    monkeypatch.setenv("SOME_KEY", "sk-secret-of-mine")
    typed = RUN + SERVED + "judge.gsm8k=true judge.api_key_env=SOME_KEY judge.price_in=10 judge.price_out=30"
    with ScriptedEndpoint(both) as endpoint:
        ended = call("run", *typed.format(work=work, url=endpoint.url).split())
        assert (ended.code, ended.err.count("verdicts to ask for") >= 1) == (0, True)
        record = read(work)
        asked = endpoint.asked.total()
        call("run", *typed.format(work=work, url=endpoint.url).split())
        assert endpoint.asked.total() == asked
        longer = call("run", *typed.replace("limit=3", "limit=4").format(work=work, url=endpoint.url).split())
        assert "3 of them known before" in longer.err
        assert endpoint.asked.total() <= asked + 2
        assert endpoint.keys == {"Bearer sk-secret-of-mine"}
    assert record["config"]["judge"] == "alpaca_eval_gpt4 (scripted)"
    judges = record["inputs"]["judges"]
    assert {name: (who["name"], who["model"]) for name, who in judges.items()} == {
        "alpaca_eval": ("alpaca_eval_gpt4", "scripted"),
        "gsm8k": ("della_gsm8k", "scripted"),
    }
    assert all(len(who["version"]) == 16 for who in judges.values())
    assert record["scores"]["gsm8k"]["metrics"]["judged"] == [0.0, 0.0, 0.0]
    assert all(value in (0.0, 0.5, 1.0) for value in record["scores"]["alpaca_eval"]["metrics"]["win_rate"])
    accounts = record["provenance"]["judges"]
    assert accounts["gsm8k"]["requests"] == 3
    assert accounts["gsm8k"]["cost"] == pytest.approx(3 * (100 * 10 + 10 * 30) / 1e6)
    files = [path for path in work.rglob("*") if path.is_file() and "experts" not in path.parts]
    assert any(path.name == "judge.jsonl" for path in files)
    assert all(b"sk-secret" not in path.read_bytes() for path in files)
    assert "sk-secret" not in ended.out + ended.err + longer.err


def test_without_gsm8ks_judge_there_is_no_such_metric(call, work):
    with ScriptedEndpoint(both) as endpoint:
        call("run", *(RUN + SERVED).format(work=work, url=endpoint.url).split())
    assert "judged" not in read(work)["scores"]["gsm8k"]["metrics"]
    assert list(read(work)["inputs"]["judges"]) == ["alpaca_eval"]


def test_an_endpoint_that_is_not_there_ends_the_run_in_one_line_before_anything_is_generated(call, work):
    with ScriptedEndpoint(both) as endpoint:
        pass
    ended = call("run", *(RUN + SERVED).format(work=work, url=endpoint.url).split())
    assert ended.code == 1
    told = ended.err.splitlines()[-1]
    assert told.startswith(f"failed: judge alpaca_eval_gpt4 (scripted) at {endpoint.url} cannot be reached: ")
    assert "Traceback" not in ended.err
    record = read(work)
    assert (record["status"], record["scores"]) == ("failed", {})


def test_an_endpoint_that_dies_in_the_middle_loses_nothing_and_the_same_command_goes_on(call, work):
    """It answers one question, then only errors; a second start asks for the others alone."""
    broken = [True]

    def answer(question: str, times: int):
        if broken and endpoint.asked.total() > 1:
            return failure(500, "out of memory")
        return both(question, times)

    with ScriptedEndpoint(answer) as endpoint:
        typed = RUN.replace("gsm8k,alpaca_eval", "gsm8k") + SERVED + "judge.gsm8k=true judge.parallel=1"
        typed = typed.format(work=work, url=endpoint.url).split()
        ended = call("run", *typed)
        assert ended.code == 1
        assert "answers HTTP 500: out of memory (2 attempts); " in ended.err
        assert "1 of 3 verdicts are kept in" in ended.err
        assert "Traceback" not in ended.err
        assert read(work)["status"] == "failed"
        broken.clear()
        assert call("run", *typed).code == 0
        assert read(work)["status"] == "done"
    assert set(endpoint.answered.values()) == {1}


def test_evaluate_names_the_judge_and_counts_what_has_no_verdict(call, pico, tmp_path):
    """The endpoint never says anything: three prompts without a verdict, and no 0."""
    typed = f"model={pico.models['math']} data={pico.data} prompts=tiny engine=hf limit=3 benchmarks=[gsm8k] "
    with ScriptedEndpoint(lambda *_: completion("I can't tell.")) as endpoint:
        typed += f"out=out.json paths.work={tmp_path / 'w'} judge.gsm8k=true " + SERVED.format(url=endpoint.url)
        ended = call("evaluate", *typed.split())
    assert ended.code == 0
    told = json.loads(Path("out.json").read_text())
    assert told["judge"] == "alpaca_eval_gpt4 (scripted)"
    assert told["judges"]["gsm8k"]["answers"] == 5
    assert told["outcomes"]["gsm8k"]["metrics"]["judged"] == [None] * 3
    assert "judged" in ended.out
    assert "(3 without a verdict)" in ended.out
    assert endpoint.asked.total() == 15


def test_what_decides_verdicts_decides_the_runs_identity_and_nothing_else_does(work):
    plain = ("experts=tiny_pico", "experts.merge=[]", "method=unmerged", f"paths.work={work}")
    served = ("judge=served", "judge.model=a")

    def identity(*more: str) -> str:
        session = Session(composed("run", *plain, *more))
        return session.identity(single_point(session.config, []))

    first = identity(*served)
    others = [
        identity(),
        identity("judge=served", "judge.model=b"),
        identity(*served, "judge.name=weighted_alpaca_eval_gpt4_turbo"),
        identity(*served, "judge.answers=5"),
        identity(*served, "+judge.settings.temperature=1"),
        identity(*served, "judge.gsm8k=true"),
        identity(*served, "judge.gsm8k=true", "judge.gsm8k_model=b"),
    ]
    assert len({first, *others}) == 8
    same = ("judge.parallel=2", "judge.timeout_s=3", "judge.price_in=1", "judge.base_url=http://127.0.0.1:9/v1")
    assert identity(*served, *same) == first


def test_the_programs_judge_leaves_identities_as_they_were(work):
    """Rules ask nobody: no version, no account."""
    session = Session(composed("run", "experts=tiny_pico", f"paths.work={work}"))
    described = session.describe(single_point(session.config, ["lm", "math"]))
    assert described["config"]["judge"] == "rules"
    assert "judges" not in described["inputs"]
    assert session.accounted({"a": 1}) == {"a": 1}


MISTAKES = {
    "no key": ("judge=alpaca_eval_gpt4", "judge.api_key_env=OPENAI_API_KEY: this variable is not set"),
    "no model": ("judge=served", "judge.name=alpaca_eval_gpt4 needs a model: write judge.model=NAME"),
    "no address": ("judge.gsm8k=true", "judge.gsm8k=true needs an endpoint: write judge.base_url="),
    "an address that is none": ("judge=served judge.model=a judge.base_url=there", "judge.base_url=there: write an"),
    "a key in the address": ("judge=served judge.model=a judge.base_url=http://a:b@c/v1", "put the key into"),
    "a key for its name": ("judge=served judge.model=a judge.api_key_env=sk-1", "write its NAME, never the key"),
    "a limit without prices": ("judge=served judge.price_in=null judge.max_cost=1", "needs judge.price_in and"),
    "no requests at a time": ("judge=served judge.parallel=0", "judge.parallel=0: write a whole number from 1"),
    "a word for a limit": ("judge=served judge.max_cost=little", "judge.max_cost=little: write a number"),
    "an unknown judge's name": ("judge=served judge.name=gpt", "judge.name=gpt: write one of rules, annotations"),
    "a misspelt option": ("judge=served judge.modle=a", "did you mean judge.model?"),
    "length data for rules": ("judge.length_data=a.csv", "judge.length_data goes with the judges"),
    "missing length data": ("judge=served judge.model=a judge.length_data=a.csv", "a.csv: No such file"),
    "a field that is the judge's own": ("judge=served judge.settings.model=a", "judge.settings.model: this field"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_that_says_what_to_write_and_leaves_nothing_behind(mistake, call, work, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    typed, told = MISTAKES[mistake]
    before = sorted(work.rglob("*"))
    ended = call("run", *RUN.format(work=work).split(), *typed.split())
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert told in ended.err
    assert sorted(work.rglob("*")) == before


def test_reading_what_is_recorded_needs_no_key(work, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    judge = open_judge(composed("run", "judge=alpaca_eval_gpt4").judge, work)
    assert judge.label == "alpaca_eval_gpt4 (gpt-4)"
    assert not (work / "cache").exists()


def test_opening_a_judge_imports_nothing_heavy():
    """The package takes seconds: too long to wait for being told of a misspelt key."""
    code = """
import sys
from pathlib import Path
from scripts.judges import Judge, open_judge
config = Judge(name="alpaca_eval_gpt4", base_url="http://127.0.0.1:9/v1", model="a", gsm8k=True)
print(open_judge(config, Path("nowhere")).identity()["alpaca_eval"]["version"])
print(sorted({"alpaca_eval", "openai", "pandas", "datasets", "torch", "httpx2"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[1:] == ["[]"], done.stderr
    assert Judge(name="rules").endpoint("http://127.0.0.1:9/v1", "a").answers == 3
    assert "nowhere" not in os.listdir(ROOT)
