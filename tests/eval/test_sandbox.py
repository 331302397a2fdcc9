"""Verdicts, limits, the cache and the speed of the sandbox; programs that mean harm are in test_sandbox_hostile.py."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eval.errors import InputError
from eval.sandbox import Program, SandboxError, Verdict, _Runner, _Runners, isolation_level, run_programs

RIGHT = Program("def f(x):\n    return x + 1", ["assert f(1) == 2", "assert f(2) == 3"])


def one(code: str, *tests: str, **limits) -> Verdict:
    return run_programs([Program(code, list(tests) or ["assert True"])], **limits)[0]


def test_a_right_program_passes_and_a_wrong_one_fails_with_its_reason():
    """f(1) is 2 for the first program, 3 for the second; `g` is defined nowhere."""
    programs = [
        RIGHT,
        Program("def f(x):\n    return x + 2", RIGHT.tests),
        Program("def f(x):\n    return g(x)", RIGHT.tests),
        Program("def f(x) return x", RIGHT.tests),
        Program("", RIGHT.tests),
    ]
    assert run_programs(programs, workers=2) == [
        (True, ""),
        (False, "assertion"),
        (False, "error: NameError"),
        (False, "error: SyntaxError"),
        (False, "error: NameError"),
    ]


def test_every_test_counts_not_only_the_first():
    assert one("def f(x):\n    return x + 1", "assert f(1) == 2", "assert f(2) == 2") == (False, "assertion")


def test_setup_runs_after_the_code_and_before_the_tests():
    """The setup uses a name of the code, and the tests a name of the setup: only one order satisfies both."""
    program = Program("def f(x):\n    return x + 1", ["assert y == 2"], setup="y = f(1)")
    assert run_programs([program]) == [(True, "")]


def test_code_with_an_open_string_cannot_swallow_the_tests():
    assert one('text = """', 'assert False, """"""') == (False, "error: SyntaxError")


def test_a_main_block_does_not_run_but_modules_with_classes_work():
    code = """
import dataclasses, pickle
@dataclasses.dataclass
class Point:
    x: int
def f(): return pickle.loads(pickle.dumps(Point(3)))
if __name__ == "__main__":
    raise SystemExit
"""
    assert one(code, "assert f() == Point(3)") == (True, "")


def test_programs_share_nothing_and_each_finds_an_empty_folder():
    code = "import builtins, os\nseen = os.listdir('.'), hasattr(builtins, 'mark')\nbuiltins.mark = open('mark', 'w')"
    assert (
        run_programs([Program(code, ["assert seen == ([], False)", f"assert {i} >= 0"]) for i in range(3)])
        == [(True, "")] * 3
    )


def test_an_endless_program_and_a_greedy_one_are_stopped_with_their_reasons():
    started = time.monotonic()
    assert one("while True: pass", timeout_s=0.5) == (False, "timeout")
    assert one("import time\ntime.sleep(60)", timeout_s=0.3) == (False, "timeout")
    assert one("x = bytearray(200 << 20)", memory_mb=128) == (False, "memory")
    assert one("x = bytearray(200 << 20)", memory_mb=512) == (True, "")
    assert time.monotonic() - started < 10


def test_a_timeout_without_the_processor_time_to_explain_it_is_tried_once_more():
    """Sleeping for 1.0 s under a limit of 0.5 s looks like a starved program; the second try allows 1.5 s."""
    assert one("import time\ntime.sleep(1.0)", timeout_s=0.5) == (True, "")


def test_equal_programs_run_once_and_verdicts_keep_the_order_asked(tmp_path):
    cache = tmp_path / "verdicts.jsonl"
    wrong = Program("def f(x):\n    return x", RIGHT.tests)
    assert [v.passed for v in run_programs([wrong, RIGHT, wrong, RIGHT], cache=cache)] == [False, True, False, True]
    assert len(cache.read_text().split()) == 2 * len(['{"key":', "k,", '"passed":', "p,", '"reason":', "r"])


def test_a_cached_verdict_runs_nothing(tmp_path, monkeypatch):
    cache = tmp_path / "new" / "verdicts.jsonl"
    first = run_programs([RIGHT], cache=cache)
    monkeypatch.setattr(_Runners, "judge", lambda *_: pytest.fail("ran again"))
    assert run_programs([RIGHT, RIGHT], cache=cache) == first * 2


@pytest.mark.parametrize(
    "changed",
    [
        {"program": Program(RIGHT.code + " ", RIGHT.tests)},
        {"program": Program(RIGHT.code, RIGHT.tests[:1])},
        {"program": Program(RIGHT.code, RIGHT.tests, setup="pass")},
        {"timeout_s": 2.0},
        {"memory_mb": 256},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_whatever_a_verdict_depends_on_makes_another_entry(tmp_path, changed):
    cache = tmp_path / "verdicts.jsonl"
    run_programs([RIGHT], cache=cache)
    run_programs([changed.pop("program", RIGHT)], cache=cache, **changed)
    assert len([line for line in cache.read_text().splitlines() if line]) == 2


def test_lines_cut_short_anywhere_lose_only_themselves(tmp_path):
    """Three entries; the second is cut in the middle and the file ends in half an entry: two are known."""
    cache = tmp_path / "verdicts.jsonl"
    programs = [Program(RIGHT.code, [f"assert f({i}) == {i + 1}"]) for i in range(3)]
    run_programs(programs, cache=cache)
    lines = [line for line in cache.read_text().splitlines() if line]
    cache.unlink()
    cache.write_text(f"\n{lines[0]}\n\n{lines[1][:70]}\n{lines[2]}\n\n{lines[1][:20]}")
    assert run_programs(programs, cache=cache) == [(True, "")] * 3
    assert json.loads(cache.read_text().splitlines()[-1]) == json.loads(lines[1])
    assert sum(line.endswith("}") for line in cache.read_text().splitlines()) == 3


SWEEP = """
import os, sys
from pathlib import Path
from eval.sandbox import Program, run_programs, _own_runners
cache, count = Path(sys.argv[1]), int(sys.argv[2])
print(_own_runners()._idle[0]._process.pid, flush=True)
verdicts = run_programs([Program(f"x = {i}", [f"assert x % 2 == 0"]) for i in range(count)], cache=cache)
print([v.passed for v in verdicts] == [i % 2 == 0 for i in range(count)], flush=True)
"""


def start_sweep(cache: Path, count: int) -> subprocess.Popen:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", SWEEP, str(cache), str(count)]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)


def test_two_processes_share_one_cache(tmp_path):
    cache = tmp_path / "verdicts.jsonl"
    sweeps = [start_sweep(cache, 200) for _ in range(2)]
    assert [sweep.communicate(timeout=60)[0].split()[1] for sweep in sweeps] == ["True", "True"]
    entries = [json.loads(line) for line in cache.read_text().splitlines() if line]
    assert len({entry["key"] for entry in entries}) == 200


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_killed_run_leaves_a_readable_cache_and_no_process(tmp_path):
    cache = tmp_path / "verdicts.jsonl"
    sweep = start_sweep(cache, 5_000)
    runner = int(sweep.stdout.readline())
    while not cache.exists() or cache.stat().st_size < 10_000:
        time.sleep(0.01)
    sweep.send_signal(signal.SIGKILL)
    sweep.communicate()
    entries = [json.loads(line) for line in cache.read_text().splitlines() if line]
    assert len(entries) >= 50
    known = run_programs([Program(f"x = {i}", ["assert x % 2 == 0"]) for i in range(50)], cache=cache)
    assert [verdict.passed for verdict in known] == [i % 2 == 0 for i in range(50)]
    deadline = time.monotonic() + 10
    while is_alive(runner) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(runner)


def test_a_runner_that_dies_is_replaced_and_never_counts_against_a_program():
    runners = _Runners(isolation_level(), _Runner(isolation_level()))
    os.kill(runners._idle[0]._process.pid, signal.SIGKILL)
    assert runners.judge(RIGHT, 3.0, 512, 3.0)["passed"]
    runners.close()


def test_programs_that_do_not_compile_may_end_before_the_runner_hands_over_its_token():
    """On one core four runners with a thousand such texts met this every time before the runner allowed for it."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        verdicts = run_programs([Program(f"def f(x) return {i}", RIGHT.tests) for i in range(1000)], workers=4)
    finally:
        os.sched_setaffinity(0, cores)
    assert set(verdicts) == {(False, "error: SyntaxError")}


def test_a_failing_sandbox_is_an_error_not_a_verdict():
    """A limit of 2^64 bytes can't be set, so the program never begins: that is no fault of its own."""
    with pytest.raises(SandboxError):
        _Runner("no such level")
    with pytest.raises(SandboxError):
        _Runners(isolation_level(), _Runner(isolation_level())).judge(RIGHT, 3.0, 1 << 44, 3.0)


def test_wrong_arguments_are_refused_in_one_line(tmp_path):
    with pytest.raises(InputError, match=r"program 1 has no tests"):
        run_programs([RIGHT, Program("x = 1", [])])
    for wrong in (
        {"timeout_s": 0},
        {"timeout_s": float("nan")},
        {"timeout_s": float("inf")},
        {"memory_mb": 10},
        {"memory_mb": 1 << 50},
        {"workers": 0},
    ):
        with pytest.raises(InputError, match=f"{next(iter(wrong))}={next(iter(wrong.values()))}"):
            run_programs([RIGHT], **wrong)
    with pytest.raises(InputError, match="name a folder that you may write to"):
        run_programs([RIGHT], cache=tmp_path)


@pytest.mark.skipif("DELLA_DATA_DIR" not in os.environ, reason="DELLA_DATA_DIR is not set")
def test_all_500_reference_solutions_of_mbpp_pass():
    """Task 123 alone takes about 3 s of processor time, hence the longer limit."""
    lines = (Path(os.environ["DELLA_DATA_DIR"]) / "mbpp" / "mbpp.jsonl").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if 11 <= row["task_id"] <= 510]
    programs = [Program(row["code"], row["test_list"], row["test_setup_code"]) for row in rows]
    started = time.monotonic()
    verdicts = run_programs(programs, workers=2, timeout_s=15)
    failed = [(row["task_id"], v.reason) for row, v in zip(rows, verdicts, strict=True) if not v.passed]
    assert (len(verdicts), failed) == (500, [])
    assert time.monotonic() - started < 60
