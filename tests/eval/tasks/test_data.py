"""Reading benchmark files: the published layout, the family layout, and what is said when they are missing."""

import json

import pytest

from eval.errors import InputError
from eval.tasks.data import data_sha256, load_rows, read_documents


def test_the_published_files_give_the_papers_counts(real_data):
    """Section 3 and the benchmarks' own papers: 1,319 problems, 500 programs, 805 instructions."""
    counts = {name: len(read_documents(name, real_data, "test")) for name in ("gsm8k", "mbpp", "alpaca_eval")}
    assert counts == {"gsm8k": 1319, "mbpp": 500, "alpaca_eval": 805}


def test_published_dev_splits_share_nothing_with_test(real_data):
    for name, size, key in [("gsm8k", 1000, "question"), ("mbpp", 464, "task_id")]:
        dev, test = (read_documents(name, real_data, split) for split in ("dev", "test"))
        assert len(dev) == size
        assert not {row[key] for row in dev} & {row[key] for row in test}


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


def test_no_data_folder_at_all_names_the_variable(monkeypatch):
    monkeypatch.delenv("DELLA_DATA_DIR", raising=False)
    with pytest.raises(InputError, match="set DELLA_DATA_DIR"):
        load_rows("gsm8k")


def test_broken_files_are_named(tmp_path):
    (tmp_path / "gsm8k").mkdir()
    file = tmp_path / "gsm8k" / "test.jsonl"
    file.write_text('{"question": "Q"}\n')
    with pytest.raises(InputError, match=r"document 0 .* lacks answer"):
        read_documents("gsm8k", tmp_path, "test")
    file.write_text('{"question": ')
    with pytest.raises(InputError, match=r"test\.jsonl is not valid JSON"):
        read_documents("gsm8k", tmp_path, "test")


def test_the_hash_follows_the_file_that_is_read(family_data):
    before = data_sha256("gsm8k", family_data, "dev")
    with (family_data / "gsm8k" / "dev.jsonl").open("a") as file:
        file.write("\n")
    assert data_sha256("gsm8k", family_data, "dev") != before
