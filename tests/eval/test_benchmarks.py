"""evaluate(): lm-eval's tasks, scored per prompt, cheap to repeat; the same task files work in lm-eval alone."""

import hashlib
import json
import logging
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from lm_eval.api.model import LM

from eval import benchmarks as benchmarks_module
from eval.benchmarks import BENCHMARKS, TASKS, evaluate, metrics_of
from eval.errors import InputError
from eval.judge import RuleJudge
from eval.tasks.prompts import find_format, prompt_family

ALL = ["gsm8k", "mbpp", "alpaca_eval"]


class ScriptedLM(LM):
    """Answers each prompt from a table of beginnings of its instruction; keeps what it was asked."""

    ANSWERS = {  # noqa: RUF012
        "Tom has 0": " 2",
        "Tom has 1": " The answer is: 3.",
        "Tom has 2": " $4.00",
        "Write a function f that adds 0": " def f(x):\n    return x",
        "Write a function f that adds 1": " def f(x):\n    return x",
        "Greet Mia": " Dear Mia!",
        "Greet Ben": " Dear Ben!",
        "Add 1 to x": "```python\ndef add_1(x):\n\treturn x + 1\n```",
        "Add 2 to x": "def add_2(x):\n    return x",
    }

    def __init__(self):
        super().__init__()
        self.asked: list[list[tuple]] = []

    def generate_until(self, requests, disable_tqdm=False):
        self.asked.append([request.args for request in requests])
        return [
            next((text for start, text in self.ANSWERS.items() if start in request.args[0]), " nothing")
            for request in requests
        ]

    def loglikelihood(self, requests):
        raise NotImplementedError

    def loglikelihood_rolling(self, requests):
        raise NotImplementedError


@pytest.fixture
def outcomes(family_data, tmp_path):
    lm = ScriptedLM()
    found = evaluate(lm, ALL, family_data, "tiny", "dev", judge=RuleJudge(), code_cache=tmp_path / "verdicts")
    return lm, found


def test_every_prompt_has_its_score_its_group_and_its_output(outcomes):
    """Gold GSM8K answers are 2, 3, 4, 5, 6 (4.00 is 4 in value only); f adds 0, 1, 2, 3; references of AlpacaEval
    satisfy the rule for Mia alone, the model for Mia and Ben: a draw, a win, a draw."""
    found = outcomes[1]
    assert found["gsm8k"].metrics == {
        "flexible": [1.0, 1.0, 0.0, 0.0, 0.0],
        "strict": [0.0, 1.0, 0.0, 0.0, 0.0],
        "numeric": [1.0, 1.0, 1.0, 0.0, 0.0],
    }
    assert found["mbpp"].metrics == {"pass_at_1": [1.0, 0.0, 0.0, 0.0]}
    assert found["alpaca_eval"].metrics == {"win_rate": [0.5, 1.0, 0.5], "rule_pass": [1.0, 1.0, 0.0]}
    assert found["mbpp"].groups == ["seen", "held_out", "seen", "held_out"]
    assert found["mbpp"].ids == ["40", "41", "42", "43"]
    assert found["alpaca_eval"].outputs == [" Dear Mia!", " Dear Ben!", " nothing"]


def test_each_benchmark_is_one_generate_call_with_the_familys_prompt_and_limits(outcomes):
    asked = outcomes[0].asked
    assert [len(requests) for requests in asked] == [5, 4, 3]
    prompt, settings = asked[0][0]
    assert prompt == "### Instruction:\nTom has 0 pens and buys 2 more. How many?\n\n### Response:"
    assert (settings["until"], settings["max_gen_toks"], settings["do_sample"]) == ([], 96, False)


def test_limit_takes_the_first_documents_and_max_new_tokens_replaces_the_familys(family_data):
    lm = ScriptedLM()
    found = evaluate(lm, ["mbpp"], family_data, "wizard_13b", "dev", limit=2, max_new_tokens=7)
    assert found["mbpp"].ids == ["40", "41"]
    assert {settings["max_gen_toks"] for _, settings in lm.asked[0]} == {7}


def test_changed_data_is_read_again(family_data):
    before = evaluate(ScriptedLM(), ["gsm8k"], family_data, "tiny", "dev")["gsm8k"]
    file = family_data / "gsm8k" / "dev.jsonl"
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:2]))
    after = evaluate(ScriptedLM(), ["gsm8k"], family_data, "tiny", "dev")["gsm8k"]
    assert (len(before.ids), len(after.ids)) == (5, 2)


def test_the_mean_leaves_out_prompts_without_a_verdict(family_data):
    class Silent(RuleJudge):
        def judge(self, instructions, outputs, references, documents):
            return [1.0, None, 0.0]

    found = evaluate(ScriptedLM(), ["alpaca_eval"], family_data, "tiny", "dev", judge=Silent())
    assert found["alpaca_eval"].metrics["win_rate"] == [1.0, None, 0.0]
    assert found["alpaca_eval"].mean("win_rate") == 0.5


@pytest.mark.parametrize(("benchmark", "split"), [("mbpp", "dev"), ("humaneval", "test")])
def test_programs_run_so_many_at_a_time_as_asked_and_score_the_same(benchmark, split, family_data, monkeypatch):
    asked, task = [], getattr(benchmarks_module, benchmark)
    run = task.run_programs
    monkeypatch.setattr(task, "run_programs", lambda *a, **more: asked.append(more["workers"]) or run(*a, **more))
    common = (ScriptedLM(), [benchmark], family_data, "wizard_13b", split)
    one, two = evaluate(*common)[benchmark], evaluate(*common, workers=2)[benchmark]
    assert asked == [1, 2]
    assert one.metrics == two.metrics


def test_humaneval_is_generated_cleaned_and_executed(family_data, tmp_path):
    """Three functions that add 0, 1 and 2: no program, a right one in a fence with a tab, a wrong one."""
    lm = ScriptedLM()
    found = evaluate(lm, ["humaneval"], family_data, "wizard_13b", "test", code_cache=tmp_path / "verdicts")[
        "humaneval"
    ]
    assert found.ids == ["HumanEval/0", "HumanEval/1", "HumanEval/2"]
    assert found.metrics == {"pass_at_1": [0.0, 1.0, 0.0]}
    prompt, settings = lm.asked[0][0]
    assert prompt.endswith('problem:\ndef add_0(x: int) -> int:\n\t""" Add 0 to x.\n\t"""\n\n\n### Response:')
    assert (settings["until"], settings["max_gen_toks"]) == ([], 2048)


@pytest.mark.parametrize(("protocol", "limit"), [("della", 1000), ("fixed", 1000), ("dare", 1024)])
def test_a_protocol_reaches_prompts_stops_limits_and_metrics(protocol, limit, family_data):
    lm, prompts = ScriptedLM(), prompt_family("wizard_13b", protocol)
    outcome = evaluate(lm, ["gsm8k"], family_data, prompts, "dev")["gsm8k"]
    prompt, settings = lm.asked[0][1]
    form = find_format(prompts, "gsm8k")
    assert prompt == form.prompt({"question": "Tom has 1 pens and buys 2 more. How many?"})
    assert (settings["until"], settings["max_gen_toks"]) == (list(form.stops), limit)
    assert tuple(outcome.metrics) == metrics_of("gsm8k", prompts)
    assert outcome.metrics.get("mergelm", [0.0, 1.0, 0.0, 0.0, 0.0]) == [0.0, 1.0, 0.0, 0.0, 0.0]


class ChattingLM(ScriptedLM):
    def apply_chat_template(self, chat_history, add_generation_prompt=True):
        (message,) = chat_history
        return f"<{message['role']}>{message['content']}<assistant>"


def test_chat_prompts_go_through_the_models_template_each_time(family_data):
    """Twice, since a task is built once per process: the template must not be applied to its own result."""
    lm = ChattingLM()
    for _ in range(2):
        evaluate(lm, ["gsm8k"], family_data, "chat", "dev")
    first, second = lm.asked
    assert first == second
    assert first[0][0].startswith("<user>Tom has 0 pens and buys 2 more. How many?\n\nThink step by step.")
    assert first[0][0].endswith("<assistant>")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"benchmarks": ["gsm9k"]}, "unknown benchmark 'gsm9k': write one of gsm8k, mbpp, alpaca_eval, humaneval"),
        ({"benchmarks": ["humaneval"], "split": "test"}, "the prompts tiny have no template for humaneval"),
        ({"benchmarks": ["humaneval"], "prompts": "wizard_13b"}, "unknown split 'dev' of humaneval: write test"),
        ({"prompts": "chat"}, "ScriptedLM applies no chat template"),
        ({"prompts": "wizard_13b/x"}, "unknown prompt family 'wizard_13b/x'"),
        ({"benchmarks": ["alpaca_eval"]}, "alpaca_eval needs a judge"),
        ({"prompts": "big"}, "unknown prompt family 'big'"),
        ({"split": "train"}, "unknown split 'train'"),
        ({"split": "test"}, "put test.jsonl into"),
        ({"limit": 0}, "limit=0"),
    ],
)
def test_mistakes_are_answered_in_one_line_before_anything_is_generated(change, message, family_data):
    lm = ScriptedLM()
    settings = {"benchmarks": ["gsm8k"], "data": family_data, "prompts": "tiny", "split": "dev", **change}
    with pytest.raises(InputError, match=message) as caught:
        evaluate(lm, **settings)
    assert "\n" not in str(caught.value)
    assert lm.asked == []


def test_a_further_checkpoint_costs_little_beside_its_generation(tmp_path):
    """900 prompts; the promise is 0.2 s, about 0.01 s is usual."""
    (tmp_path / "gsm8k").mkdir()
    row = json.dumps({"question": "Tom has 0 pens?", "answer": "#### 2"}) + "\n"
    (tmp_path / "gsm8k" / "dev.jsonl").write_text(row * 900)
    evaluate(ScriptedLM(), ["gsm8k"], tmp_path, "tiny", "dev")
    start = time.process_time()
    evaluate(ScriptedLM(), ["gsm8k"], tmp_path, "tiny", "dev")
    assert time.process_time() - start < 0.2


def test_lm_evals_own_evaluator_gives_the_same_means(outcomes, family_data):
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.tasks import TaskManager

    metadata = {"data": str(family_data), "split": "dev", "prompts": "tiny"}
    manager = TaskManager(include_path=str(TASKS), include_defaults=False, metadata=metadata)
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    tasks = [BENCHMARKS[name].task for name in ALL]
    results = simple_evaluate(ScriptedLM(), tasks=tasks, task_manager=manager, bootstrap_iters=0)["results"]
    for name, outcome in outcomes[1].items():
        for metric in outcome.metrics:
            assert results[BENCHMARKS[name].task][f"{metric},none"] == pytest.approx(outcome.mean(metric))


def test_importing_the_package_is_quick_and_loads_no_engine():
    """Scripts that only print help import these modules."""
    heavy = "{'torch', 'vllm', 'transformers', 'lm_eval', 'datasets'}"
    modules = "from eval.benchmarks import evaluate; from eval.engines import open_engine"
    code = f"import sys; {modules}; print({heavy} & set(sys.modules))"
    root = Path(__file__).parents[2]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "set()"


def test_task_files_say_what_the_code_says():
    """Versions, a source at a commit, and the papers' limits and stops, which the command line takes from the files."""
    for name, benchmark in BENCHMARKS.items():
        plain = yaml.safe_load((TASKS / f"{benchmark.task}.yaml").read_text().replace("!function ", ""))
        for path in TASKS.glob(f"{benchmark.task}*.yaml"):
            text = path.read_text()
            task = plain | yaml.safe_load(text.replace("!function ", ""))
            metadata = task["metadata"]
            form = find_format(prompt_family(metadata["prompts"], metadata.get("protocol", "della")), name)
            assert task["task"] == path.stem
            assert metadata["version"] == benchmark.version
            assert task["generation_kwargs"]["until"] == list(form.stops)
            assert task["generation_kwargs"]["max_gen_toks"] == form.max_new_tokens
            assert re.search(r" at [0-9a-f]{7}\b", text) or task["include"] == "della_gsm8k.yaml"


# SHA-256 of prompts and scores on the small documents above, per benchmark and version. Another hash at the same
# version means that records would mix two protocols: bump it in BENCHMARKS and in the task file, then add its hash.
GOLDEN = {
    ("gsm8k", 1): "05979dd78c6e7fe21f5189060c0dafc03c629d142ce0f537367cb13c76e87e12",
    ("mbpp", 1): "5da844a8c9553f6d12c5b70bd17f1fece08027a12ea31e8545c67ed25b43159f",
    ("alpaca_eval", 1): "11551ca01bd9b8f337100ecc5d4b81e1383814a916f7e8105993367fc0327445",
    ("humaneval", 1): "6c8be2d16ba4e83162653d7afe37400babeb10a312ec258f5d3a64c7e0dee981",
}


@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_prompts_and_scores_change_only_with_the_version(benchmark, family_data, tmp_path):
    seen = []
    split, families = ("dev", ("tiny", "wizard_13b")) if benchmark in ALL else ("test", ("wizard_13b",))
    for prompts in families:
        lm = ScriptedLM()
        found = evaluate(lm, [benchmark], family_data, prompts, split, None, RuleJudge(), tmp_path / "verdicts")
        seen.append([lm.asked, found[benchmark].metrics])
    digest = hashlib.sha256(json.dumps(seen, sort_keys=True).encode()).hexdigest()
    assert digest == GOLDEN[benchmark, BENCHMARKS[benchmark].version]
