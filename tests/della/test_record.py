"""Records: one spelling, whole files only, and a compact form that loses nothing but provenance."""

import gzip
import hashlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from della import provenance as provenance_module
from della.errors import InputError
from della.record import (
    canonical,
    compact,
    comparable,
    find_done,
    groups_of,
    identity,
    load_records,
    make_record,
    provenance,
    read_compact,
    read_header,
    read_samples,
    score_block,
    scores_of,
    write_compact,
    write_record,
)

_VERSIONS = {"merge": 1, "gsm8k": 1}


def _config(seed: int = 1, drop_rate: float = 0.5) -> dict:
    method = {"name": "della", "drop_rate": drop_rate, "epsilon": 0.14, "lambda_": 1.1}
    return {"family": "tiny", "family_seed": 0, "merge": ["lm", "math"], "method": method, "seed": seed, "split": "dev"}


def _block() -> dict:
    metrics = {"flexible": [1.0, 0.0, None, 0.5], "graded": [0.25, 1.0, None, 0.5]}
    return score_block("flexible", ["0", "1", "2", "3"], ["seen", "seen", "held_out", "held_out"], metrics)


def _record(seed: int = 1, error: str | None = None, **provenance_facts) -> dict:
    scores = {"gsm8k": _block()} if error is None else None
    merge = {"drop_rate": {"lm": 0.501, "math": 0.498}}
    inputs = {"base": "aa", "lm": "bb", "math": "cc", "data": {"gsm8k": "dd"}}
    rest = {"merge": merge, "scores": scores, "error": error, "provenance": provenance_facts}
    return make_record(_config(seed), inputs, _VERSIONS, **rest)


def test_canonical_json_has_one_spelling_and_refuses_nan():
    assert canonical({"b": 0.1, "a": [1, None, "é"]}) == '{"a":[1,null,"é"],"b":0.1}'
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical({"score": float("nan")})


def test_the_identity_is_the_hash_of_config_inputs_and_versions_in_any_order():
    """SHA-256 of the text written out by hand, first 16 hexadecimal digits."""
    text = '{"config":{"a":1,"b":0.5},"inputs":{"base":"x"},"versions":{"merge":1}}'
    expected = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert identity({"b": 0.5, "a": 1}, {"base": "x"}, {"merge": 1}) == expected
    assert identity({"b": 0.5, "a": 1}, {"base": "x"}, {"merge": 2}) != expected
    assert identity({"b": 0.5, "a": 1}, {"base": "y"}, {"merge": 1}) != expected


def test_a_score_block_leaves_unscored_prompts_out_of_the_mean_and_counts_the_others():
    """(1 + 0 + 0.5) / 3 = 0.5 over the three prompts with a verdict."""
    block = _block()
    assert block["mean"] == 0.5
    assert block["n"] == 3
    empty = score_block("win_rate", ["0"], ["seen"], {"win_rate": [None]})
    assert (empty["mean"], empty["n"]) == (None, 0)


def test_a_score_block_whose_lists_do_not_fit_is_refused():
    with pytest.raises(ValueError, match="do not fit"):
        score_block("flexible", ["0", "1"], ["seen", "seen"], {"flexible": [1.0]})
    with pytest.raises(ValueError, match="do not fit"):
        score_block("strict", ["0"], ["seen"], {"flexible": [1.0]})


def test_a_record_is_read_back_as_it_was_written(tmp_path):
    record = _record(host="here")
    path = write_record(tmp_path / "records", record)
    assert path.name == f"{record['identity']}.json"
    assert load_records(tmp_path / "records") == [record]
    assert find_done(tmp_path / "records", record["identity"]) == record
    assert find_done(tmp_path / "records", "0" * 16) is None
    assert scores_of(record, "gsm8k") == [1.0, 0.0, None, 0.5]
    assert scores_of(record, "gsm8k", "graded") == [0.25, 1.0, None, 0.5]
    assert groups_of(record, "gsm8k") == ["seen", "seen", "held_out", "held_out"]


def test_two_executions_differ_in_provenance_only(tmp_path):
    first, second = _record(host="here", seconds=1.0), _record(host="there", seconds=2.0)
    assert first != second
    assert comparable(first) == comparable(second)
    assert comparable(first) != comparable(_record(seed=2))


def test_asking_for_scores_that_are_not_there_says_which_are():
    with pytest.raises(InputError, match=r"no scores of 'mbpp'; its benchmarks: gsm8k"):
        scores_of(_record(), "mbpp")
    with pytest.raises(InputError, match=r"no metric 'strict'; write one of flexible, graded"):
        scores_of(_record(), "gsm8k", "strict")


def test_a_failed_run_is_not_done_and_gives_way_to_a_later_success(tmp_path):
    failed, done = _record(error="OutOfMemoryError: 3 GB"), _record()
    assert failed["identity"] == done["identity"]
    write_record(tmp_path, failed)
    assert find_done(tmp_path, failed["identity"]) is None
    assert load_records(tmp_path)[0]["status"] == "failed"
    write_record(tmp_path, done)
    assert find_done(tmp_path, done["identity"]) == done


def test_a_done_run_is_never_overwritten(tmp_path):
    first = _record(host="first")
    write_record(tmp_path, first, [{"id": "0", "output": "42"}])
    write_record(tmp_path, _record(error="too late"), [])
    write_record(tmp_path, _record(host="second"), [{"id": "0", "output": "43"}])
    assert load_records(tmp_path) == [first]
    assert read_samples(tmp_path, first["identity"]) == [{"id": "0", "output": "42"}]


def test_samples_have_equal_bytes_whenever_they_are_written(tmp_path):
    samples = [{"benchmark": "gsm8k", "id": "0", "output": "é #### 4"}]
    record = _record()
    write_record(tmp_path / "a", record, samples)
    name = f"{record['identity']}.samples.jsonl.gz"
    time.sleep(1.1)  # gzip's time stamp has whole seconds
    write_record(tmp_path / "b", record, iter(samples))
    assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert gzip.decompress((tmp_path / "a" / name).read_bytes()).decode() == canonical(samples[0]) + "\n"
    assert read_samples(tmp_path / "a", record["identity"]) == samples
    assert read_samples(tmp_path / "a", "0" * 16) == []


def test_a_record_that_is_not_one_is_refused_before_anything_is_written(tmp_path):
    record = _record()
    for wrong in (
        {key: value for key, value in record.items() if key != "error"},
        {**record, "identity": "0" * 16},
        {**record, "merge": {"drop_rate": {"lm": float("nan")}}},
    ):
        with pytest.raises(ValueError, match=r"fields|identity|JSON compliant"):
            write_record(tmp_path / "records", wrong)
    assert not (tmp_path / "records").exists()


def test_unreadable_records_are_named_all_at_once_and_temporary_files_are_ignored(tmp_path):
    good, cut, empty = (write_record(tmp_path, _record(seed)) for seed in (1, 2, 3))
    (tmp_path / f".{good.name}.abc.tmp").write_text('{"identity":')
    (tmp_path / f"{good.stem}.claim").write_text("")
    assert len(load_records(tmp_path)) == 3
    cut.write_bytes(cut.read_bytes()[:-20])
    empty.write_bytes(b"")
    with pytest.raises(InputError) as caught:
        load_records(tmp_path)
    assert cut.name in str(caught.value)
    assert empty.name in str(caught.value)
    assert good.name not in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=cut.name):
        find_done(tmp_path, cut.stem)


def test_a_record_under_another_runs_name_is_unreadable(tmp_path):
    path = write_record(tmp_path, _record())
    path.rename(tmp_path / f"{'0' * 16}.json")
    with pytest.raises(InputError, match="another run's name"):
        load_records(tmp_path)


def test_no_folder_means_no_records(tmp_path):
    assert load_records(tmp_path / "missing") == []


_WRITER = """
import sys
from pathlib import Path
from della.record import make_record, write_record
print("ready", flush=True)
for seed in range(10**6):
    write_record(Path(sys.argv[1]), make_record({"seed": seed}, {}, {}), [{"output": "x" * 20000}] * 20)
"""


def test_a_killed_writer_leaves_whole_records_only(tmp_path):
    for attempt, seconds in enumerate((0.1, 0.17, 0.31)):
        folder = tmp_path / str(attempt)
        writer = subprocess.Popen([sys.executable, "-c", _WRITER, folder], stdout=subprocess.PIPE)
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(seconds)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        writer.stdout.close()
        records = load_records(folder)
        assert records
        for record in records:
            assert record["status"] == "done"
            assert len(read_samples(folder, record["identity"])) == 20


def test_two_thousand_records_load_in_seconds(tmp_path):
    """As large as the tiny family's: three benchmarks of 500 prompts, five metrics. Measured 2 s; 10 s allowed."""
    ids, groups = [str(i) for i in range(500)], ["seen"] * 300 + ["held_out"] * 200
    block = score_block("a", ids, groups, {"a": [1.0] * 500, "b": [0.0, 0.5] * 250})
    for seed in range(2000):
        scores = {"gsm8k": block, "mbpp": block, "alpaca_eval": block}
        record = make_record(_config(seed), {}, _VERSIONS, scores=scores)
        (tmp_path / f"{record['identity']}.json").write_text(canonical(record))
    started = time.monotonic()
    assert len(load_records(tmp_path)) == 2000
    assert time.monotonic() - started < 10


def test_the_compact_file_is_the_same_bytes_in_any_order_and_gives_the_records_back(tmp_path):
    records = [_record(seed, host="here") for seed in range(20)] + [_record(99, error="it broke")]
    write_compact(tmp_path / "a.jsonl", records, command="make sweep", commit="abc123")
    write_compact(tmp_path / "deep" / "b.jsonl", reversed(records), command="make sweep", commit="abc123")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "deep" / "b.jsonl").read_bytes()
    assert read_header(tmp_path / "a.jsonl") == {
        "format": "della-records-1",
        "command": "make sweep",
        "commit": "abc123",
    }
    restored = read_compact(tmp_path / "a.jsonl")
    in_order = sorted(records, key=lambda record: record["identity"])
    assert [comparable(record) for record in restored] == [comparable(record) for record in in_order]
    assert all(record["provenance"] == {} for record in restored)
    done = [record for record in restored if record["status"] == "done"]
    assert scores_of(done[0], "gsm8k", "graded") == [0.25, 1.0, None, 0.5]
    assert groups_of(done[0], "gsm8k") == ["seen", "seen", "held_out", "held_out"]


def test_compact_scores_are_strings_where_the_alphabet_suffices_and_prompts_are_stored_once():
    lines = compact([_record(1), _record(2)])
    assert [sorted(line) for line in lines[:1]] == [["groups", "ids", "prompts"]]
    assert len(lines) == 3
    assert lines[1]["scores"]["gsm8k"]["metrics"] == {"flexible": "10-h", "graded": [0.25, 1.0, None, 0.5]}
    assert lines[1]["scores"]["gsm8k"]["prompts"] == lines[0]["prompts"]
    with pytest.raises(ValueError, match="two records of run"):
        compact([_record(1), _record(1)])


def test_a_broken_compact_file_is_named_with_its_line(tmp_path):
    path = tmp_path / "runs.jsonl"
    with pytest.raises(InputError, match="no such file"):
        read_compact(path)
    path.write_text('{"some":"json"}\n')
    with pytest.raises(InputError, match="first line must say"):
        read_compact(path)
    write_compact(path, [_record(1), _record(2)], command="make", commit=None)
    whole = path.read_text()
    path.write_text(whole[:-30])
    with pytest.raises(InputError, match="line 4: cut off"):
        read_compact(path)
    path.write_text(whole.replace('"prompts":', '"prompt":'))
    with pytest.raises(InputError, match="line 2: not a compact run record"):
        read_compact(path)


def test_provenance_names_commit_packages_and_place_without_importing_them():
    """In a fresh process, because this one may have imported torch already."""
    code = "import json, sys, time; from della.record import provenance; "
    code += "p = provenance(time.time() - 2, sweep='seeds'); print(json.dumps([p, 'torch' in sys.modules]))"
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    facts, imported = json.loads(done.stdout)
    assert not imported
    assert set(facts) == {
        "started", "seconds", "host", "pid", "commit", "dirty", "packages", "python", "platform", "sweep"
    }  # fmt: skip
    assert 2 <= facts["seconds"] < 60
    assert facts["sweep"] == "seeds"
    assert facts["packages"]["torch"].startswith("2.")


def test_provenance_asks_git_once_per_process(monkeypatch):
    provenance(time.time())
    monkeypatch.setattr(provenance_module, "_git", lambda *arguments: pytest.fail("asked again"))
    provenance(time.time())
