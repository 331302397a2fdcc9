"""Data from the hub: pinned, the same content as the published files, refused when it is not, one line when offline.

The hub is faked: a function in place of huggingface_hub's, which hands out files made of the published ones.
"""

import hashlib
import json
import re
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from eval.errors import InputError
from eval.tasks.data import (
    FIELDS,
    PUBLISHED,
    SOURCES,
    content_sha256,
    data_sha256,
    load_rows,
    read_documents,
    read_hub,
)
from eval.tasks.hub import HUB


@pytest.fixture(autouse=True)
def _no_folder_and_nothing_remembered(monkeypatch):
    monkeypatch.delenv("DELLA_DATA_DIR", raising=False)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    read_hub.cache_clear()
    yield
    read_hub.cache_clear()


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Maps (repository, file) to rows; what is asked for is kept, and the commit has to be the pinned one."""
    held: dict[tuple[str, str], list[dict]] = {}
    asked: list[tuple[str, str]] = []

    def download(repo, name, *, repo_type, revision, local_files_only=False):
        assert repo_type == "dataset"
        assert revision in {files.revision for files in HUB.values() if files.repo == repo}
        if local_files_only:
            raise LocalEntryNotFoundError("not in the cache")
        asked.append((repo, name))
        path = tmp_path / repo.replace("/", "--") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".parquet":
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(held[repo, name]), path)
        else:
            path.write_text(json.dumps(held[repo, name]))
        return str(path)

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", lambda url, timeout: None)
    return held, asked


def alpaca_eval_1_reference(real_data: Path) -> list[dict]:
    """AlpacaEval 1.0's reference outputs: what published GPT-4 verdicts compare a model's outputs with."""
    name = "wizardlm-13b_alpaca_eval_gpt4_annotations.json"
    rows = json.loads((real_data / "alpaca_eval" / name).read_text(encoding="utf-8"))
    return [
        {
            "dataset": row["dataset"],
            "instruction": row["instruction"],
            "output": row["output_1"],
            "generator": row["generator_1"],
        }
        for row in rows
    ]


def fill(held: dict, real_data: Path) -> None:
    """The hub's files, made of the published ones: MBPP by its splits, all else as it is."""
    train, test = (
        [json.loads(line) for line in (real_data / "gsm8k" / f"{name}.jsonl").read_text().split("\n") if line]
        for name in ("train", "test")
    )
    mbpp = [json.loads(line) for line in (real_data / "mbpp" / "mbpp.jsonl").read_text().split("\n") if line]
    (gsm8k,), (older,) = HUB["gsm8k", "test"].names, HUB["gsm8k", "dev"].names
    validation, training = HUB["mbpp", "dev"].names
    held["openai/gsm8k", gsm8k], held["openai/gsm8k", older] = test, train
    repo = HUB["mbpp", "test"].repo
    held[repo, HUB["mbpp", "test"].names[0]] = [row for row in mbpp if 11 <= row["task_id"] <= 510]
    held[repo, validation] = [row for row in mbpp if 511 <= row["task_id"] <= 600]
    held[repo, training] = [row for row in mbpp if row["task_id"] > 600]
    held["openai/openai_humaneval", HUB["humaneval", "test"].names[0]] = read_documents("humaneval", real_data, "test")
    held["tatsu-lab/alpaca_eval", "alpaca_eval.json"] = alpaca_eval_1_reference(real_data)


def test_every_split_has_a_pinned_source_on_the_hub():
    assert HUB.keys() == SOURCES.keys()
    for files in HUB.values():
        assert re.fullmatch("[0-9a-f]{40}", files.revision)
    assert PUBLISHED.keys() == HUB.keys() - {("alpaca_eval", "dev")}


@pytest.mark.parametrize(("benchmark", "split"), [key for key in PUBLISHED if key[0] != "alpaca_eval"])
def test_the_hubs_documents_are_those_of_the_folder_and_make_the_same_run(benchmark, split, hub, real_data):
    fill(hub[0], real_data)
    ours, theirs = read_documents(benchmark, None, split), read_documents(benchmark, real_data, split)
    assert [[row[name] for name in FIELDS[benchmark]] for row in ours] == [
        [row[name] for name in FIELDS[benchmark]] for row in theirs
    ]
    published = PUBLISHED[benchmark, split]
    assert (len(ours), content_sha256(benchmark, ours)) == (published.documents, published.content)
    assert content_sha256(benchmark, theirs) == published.content
    assert data_sha256(benchmark, None, split) == data_sha256(benchmark, real_data, split) == published.file


def test_alpaca_evals_instructions_are_the_same_and_its_reference_is_what_published_verdicts_compare_with(
    hub, real_data
):
    """The hub's file is known by its SHA-256, which these rows give, indented by two: the reference is that of 1.0.

    The folder's file holds later outputs of the same model: 20 of 805 are equal.
    """
    fill(hub[0], real_data)
    rows = alpaca_eval_1_reference(real_data)
    assert hashlib.sha256(json.dumps(rows, indent=2).encode()).hexdigest() == PUBLISHED["alpaca_eval", "test"].file
    ours, theirs = read_documents("alpaca_eval", None, "test"), read_documents("alpaca_eval", real_data, "test")
    assert [row["instruction"] for row in ours] == [row["instruction"] for row in theirs]
    assert sum(one["output"] == other["output"] for one, other in zip(ours, theirs, strict=True)) == 20
    assert data_sha256("alpaca_eval", None, "test") == PUBLISHED["alpaca_eval", "test"].file


def test_the_reference_of_alpaca_eval_1_is_preferred_in_a_folder(real_data, tmp_path):
    (tmp_path / "alpaca_eval").mkdir()
    rows = alpaca_eval_1_reference(real_data)
    (tmp_path / "alpaca_eval" / "alpaca_eval.json").write_text(json.dumps(rows, indent=2))
    (tmp_path / "alpaca_eval" / "text_davinci_003_outputs.json").write_text("[]")
    assert read_documents("alpaca_eval", tmp_path, "test") == rows
    assert data_sha256("alpaca_eval", tmp_path, "test") == PUBLISHED["alpaca_eval", "test"].file


def test_alpaca_farms_optional_input_follows_its_instruction(hub, tmp_path):
    rows = [
        {"instruction": "Add.", "input": "1 2", "output": "3"},
        {"instruction": "Sing.", "input": "", "output": "La"},
    ]
    hub[0]["tatsu-lab/alpaca_farm", "alpaca_instructions/val.json"] = rows
    documents = read_documents("alpaca_eval", None, "dev")
    assert [row["instruction"] for row in documents] == ["Add.\n\n1 2", "Sing."]
    assert [row["output"] for row in documents] == ["3", "La"]
    (tmp_path / "alpaca_eval").mkdir()
    (tmp_path / "alpaca_eval" / "val.json").write_text(json.dumps(rows))
    assert read_documents("alpaca_eval", tmp_path, "dev") == documents


def test_rows_are_downloaded_once_a_process(hub, real_data):
    fill(hub[0], real_data)
    assert len(load_rows("gsm8k")) == len(load_rows("gsm8k", prompts="wizard_13b/fixed")) == 1319
    data_sha256("gsm8k", None, "test")
    assert hub[1] == [("openai/gsm8k", "main/test-00000-of-00001.parquet")]


def test_other_content_at_the_pinned_commit_is_refused(hub, real_data):
    fill(hub[0], real_data)
    hub[0]["openai/gsm8k", "main/test-00000-of-00001.parquet"][7]["answer"] += " "
    with pytest.raises(InputError, match=r"openai/gsm8k at e53f048 is not the published gsm8k test: put test\.jsonl"):
        read_documents("gsm8k", None, "test")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (LocalEntryNotFoundError("An error happened\nwhile trying"), "LocalEntryNotFoundError"),
        (HfHubHTTPError.__bases__[0]("no\nroute"), "HTTPError"),
        (ConnectionResetError("reset"), "ConnectionResetError"),
    ],
)
def test_a_hub_out_of_reach_is_one_line_that_says_what_to_put_where(error, told, monkeypatch):
    """After one request: the download itself, which the hub's client would try for minutes, is not begun."""

    def cached(*arguments, local_files_only=False, **settings):
        assert local_files_only
        raise LocalEntryNotFoundError("not in the cache")

    def fail(url, timeout):
        assert timeout == 10
        raise error

    monkeypatch.setattr("huggingface_hub.hf_hub_download", cached)
    monkeypatch.setattr("huggingface_hub.get_hf_file_metadata", fail)
    with pytest.raises(InputError) as caught:
        load_rows("mbpp")
    message = str(caught.value)
    assert "\n" not in message
    assert message == (
        "no data folder is named, and full/test-00000-of-00001.parquet of google-research-datasets/mbpp cannot be had "
        f"from the hub ({told}): put test.jsonl or mbpp.jsonl into DIR/mbpp and write data=DIR (experts.data=DIR in a "
        "run) or set DELLA_DATA_DIR=DIR"
    )


def test_offline_nothing_is_looked_for_but_the_hubs_own_cache(monkeypatch):
    seen = []

    def cached(*arguments, local_files_only, **settings):
        seen.append(local_files_only)
        raise LocalEntryNotFoundError("not there")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", cached)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        InputError, match=r"HF_HUB_OFFLINE is set.*put test\.jsonl or HumanEval\.jsonl\.gz into DIR/hum"
    ):
        load_rows("humaneval")
    assert seen == [True]
