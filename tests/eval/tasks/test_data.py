"""Reading benchmark files: the published layout, the family layout, and what is said when they are missing."""

import gzip
import json

import pytest

from eval.errors import InputError
from eval.tasks.data import data_sha256, load_rows, read_documents


def test_the_published_files_give_the_papers_counts(real_data):
    """Section 3 and the benchmarks' own papers: 1,319 problems, 500 programs, 805 instructions, 164 functions."""
    names = ("gsm8k", "mbpp", "alpaca_eval", "humaneval")
    counts = {name: len(read_documents(name, real_data, "test")) for name in names}
    assert counts == {"gsm8k": 1319, "mbpp": 500, "alpaca_eval": 805, "humaneval": 164}


def test_published_dev_splits_share_nothing_with_test(real_data):
    for name, size, key in [("gsm8k", 1000, "question"), ("mbpp", 464, "task_id")]:
        dev, test = (read_documents(name, real_data, split) for split in ("dev", "test"))
        assert len(dev) == size
        assert not {row[key] for row in dev} & {row[key] for row in test}


def test_development_problems_are_the_tail_of_train_and_mbpps_validation_and_training_ids(real_data):
    train = (real_data / "gsm8k" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    assert read_documents("gsm8k", real_data, "dev") == [json.loads(line) for line in train[-1000:]]
    assert [row["task_id"] for row in read_documents("mbpp", real_data, "dev")] == list(range(511, 975))


def test_humaneval_has_task_ids_and_no_development_split(family_data):
    rows = load_rows("humaneval", data=str(family_data))
    assert [row["id"] for row in rows] == ["HumanEval/0", "HumanEval/1", "HumanEval/2"]
    with pytest.raises(InputError, match="unknown split 'dev' of humaneval: write test"):
        load_rows("humaneval", data=str(family_data), split="dev")


def test_as_many_other_documents_as_the_published_ones_are_warned_of(real_data, tmp_path, capsys):
    """One character more in one of 1,319 answers; the published file itself says nothing."""
    assert len(load_rows("gsm8k", data=str(real_data))) == 1319
    assert capsys.readouterr().err == ""
    (tmp_path / "gsm8k").mkdir()
    text = (real_data / "gsm8k" / "test.jsonl").read_text(encoding="utf-8")
    (tmp_path / "gsm8k" / "test.jsonl").write_text(text.replace("\n", "\n\n").replace('"}', ' "}', 1))
    assert len(load_rows("gsm8k", data=str(tmp_path))) == 1319
    assert "gsm8k: as many test documents as the published benchmark has, but others" in capsys.readouterr().err


def test_mbpp_ids_are_task_ids_and_other_ids_are_rows(family_data):
    ids = {
        name: [row["id"] for row in load_rows(name, data=str(family_data), split="dev", prompts="tiny")]
        for name in ("gsm8k", "mbpp", "alpaca_eval")
    }
    assert ids == {"gsm8k": ["0", "1", "2", "3", "4"], "mbpp": ["40", "41", "42", "43"], "alpaca_eval": ["0", "1", "2"]}


def test_a_document_travels_whole_whatever_the_others_look_like(family_data):
    rows = load_rows("alpaca_eval", data=str(family_data), split="dev", prompts="tiny")
    assert json.loads(rows[1]["document"])["rule"] == {"kind": "starts", "text": "Dear Ben"}


def test_groups_are_kept_and_default_to_all(family_data):
    assert [row["group"] for row in load_rows("mbpp", data=str(family_data), split="dev", prompts="tiny")] == [
        "seen",
        "held_out",
        "seen",
        "held_out",
    ]
    assert {row["group"] for row in load_rows("gsm8k", data=str(family_data), split="dev")} == {"all"}


def test_line_separators_inside_a_text_do_not_end_a_document(tmp_path):
    """U+2028 is a line end to str.splitlines but not to JSON lines."""
    (tmp_path / "gsm8k").mkdir()
    row = {"question": "a\u2028b", "answer": "#### 1"}
    (tmp_path / "gsm8k" / "test.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_documents("gsm8k", tmp_path, "test") == [row]


def test_missing_data_says_what_to_put_where(tmp_path):
    with pytest.raises(InputError, match=r"put test.jsonl or mbpp.jsonl into .*mbpp"):
        read_documents("mbpp", tmp_path, "test")


def test_the_folder_named_comes_before_the_variables(family_data, tmp_path, monkeypatch):
    monkeypatch.setenv("DELLA_DATA_DIR", str(tmp_path / "elsewhere"))
    assert len(load_rows("gsm8k", data=str(family_data), split="dev")) == 5
    monkeypatch.setenv("DELLA_DATA_DIR", str(family_data))
    assert len(load_rows("gsm8k", split="dev")) == 5
    assert data_sha256("gsm8k", None, "dev") == data_sha256("gsm8k", family_data, "dev")


def test_broken_files_are_named(tmp_path):
    (tmp_path / "gsm8k").mkdir()
    file = tmp_path / "gsm8k" / "test.jsonl"
    file.write_text('{"question": "Q"}\n')
    with pytest.raises(InputError, match=r"document 0 .* lacks answer"):
        read_documents("gsm8k", tmp_path, "test")
    file.write_text('{"question": ')
    with pytest.raises(InputError, match=r"test\.jsonl is not valid JSON"):
        read_documents("gsm8k", tmp_path, "test")
    file.write_text("[1, 2]\n")
    with pytest.raises(InputError, match=r"test\.jsonl: not a list of documents"):
        read_documents("gsm8k", tmp_path, "test")
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"test\.jsonl is damaged \(UnicodeDecodeError\): fetch the file again"):
        read_documents("gsm8k", tmp_path, "test")
    (tmp_path / "human_eval").mkdir()
    for damaged in (b"{}", gzip.compress(b"{}" * 500)[:-9]):
        (tmp_path / "human_eval" / "HumanEval.jsonl.gz").write_bytes(damaged)
        with pytest.raises(InputError, match=r"HumanEval\.jsonl\.gz is damaged"):
            read_documents("humaneval", tmp_path, "test")


def test_the_hash_follows_the_file_that_is_read(family_data):
    before = data_sha256("gsm8k", family_data, "dev")
    with (family_data / "gsm8k" / "dev.jsonl").open("a") as file:
        file.write("\n")
    assert data_sha256("gsm8k", family_data, "dev") != before
