"""Killed at any moment and started again, by itself or beside others: no verdict is lost and none is paid for twice.

A killed process takes with it the answers that were on their way: at most as many as it asked at a time.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.eval.scripted_endpoint import Response, ScriptedEndpoint, completion
from tests.eval.solutions import expected, number_of

ROOT = Path(__file__).resolve().parents[2]
PARALLEL = 4
JUDGE = """
import json, sys
from pathlib import Path
from eval.judges.gsm8k import SolutionJudge
from eval.judges.settings import Endpoint
url, cache, count = sys.argv[1:]
judge = SolutionJudge(Endpoint(url, "scripted", parallel=4, first_wait_s=0.01, attempts=4), Path(cache))
count = int(count)
documents = [{"question": f"number {n}", "answer": f"#### {n}"} for n in range(count)]
print(json.dumps(judge.judge(documents, ["so it is"] * count)))
"""


def start(endpoint: ScriptedEndpoint, cache: Path, count: int) -> subprocess.Popen:
    command = [sys.executable, "-c", JUDGE, endpoint.url, str(cache), str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def on_disk(cache: Path) -> Counter:
    """The whole entries of the file, by key."""
    found: Counter = Counter()
    for line in cache.read_bytes().split(b"\n") if cache.exists() else []:
        try:
            found[json.loads(line)["key"]] += 1
        except ValueError:
            continue
    return found


def slowly(question: str, times: int) -> Response:
    """Every question takes a moment; one in five first gets an answer that says nothing."""
    n = number_of(question)
    text = "hm" if n % 5 == 0 and times == 1 else "[[B]]" if n % 3 == 0 else "[[A]]"
    return Response(completion(text).body, delay=0.02, paid=True)


def run_with_kills(tmp_path: Path, count: int, kills: int) -> None:
    random_ = random.Random(kills)
    cache, lost = tmp_path / "judge.jsonl", 0
    with ScriptedEndpoint(slowly) as endpoint:
        for _ in range(kills):
            process, before = start(endpoint, cache, count), sum(on_disk(cache).values())
            goal = min(before + random_.randrange(1, 2 * count // kills), count)
            while sum(on_disk(cache).values()) < goal and process.poll() is None:
                time.sleep(0.002)
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
            time.sleep(0.1)  # what was on its way arrives nowhere
            lost += PARALLEL
        process = start(endpoint, cache, count)
        assert json.loads(process.communicate(timeout=120)[0]) == expected(count)
    wanted = {n: 2 if n % 5 == 0 else 1 for n in range(count)}
    more = {q: endpoint.asked[q] - wanted[number_of(q)] for q in endpoint.asked}
    assert sum(on_disk(cache).values()) <= sum(wanted.values())
    # Asked more often than answers were needed: only what was on its way in a kill.
    assert 0 <= sum(more.values()) <= lost


def test_a_judge_that_is_killed_goes_on_where_it_was(tmp_path):
    run_with_kills(tmp_path, 60, 3)


@pytest.mark.full
def test_a_judge_that_is_killed_forty_times_goes_on_where_it_was(tmp_path):
    run_with_kills(tmp_path, 600, 40)


def test_what_is_on_the_disk_is_never_asked_again_after_a_kill(tmp_path):
    """The file is cut at a byte in the middle of its last entry: that answer alone is asked for once more."""
    cache = tmp_path / "judge.jsonl"
    with ScriptedEndpoint(slowly) as endpoint:
        start(endpoint, cache, 12).communicate(timeout=60)
        asked = Counter(endpoint.asked)
        content = cache.read_bytes()
        cache.write_bytes(content[:-30])
        out = start(endpoint, cache, 12).communicate(timeout=60)[0]
        assert json.loads(out) == expected(12)
        assert endpoint.asked.total() == asked.total() + 1


def test_three_processes_share_one_file_and_ask_each_question_once(tmp_path):
    with ScriptedEndpoint(slowly) as endpoint:
        processes = [start(endpoint, tmp_path / "judge.jsonl", 40) for _ in range(3)]
        outs = [process.communicate(timeout=120)[0] for process in processes]
    assert [json.loads(out) for out in outs] == [expected(40)] * 3
    assert {number_of(q): times for q, times in endpoint.asked.items()} == {
        n: 2 if n % 5 == 0 else 1 for n in range(40)
    }
