"""Benchmark files, as the benchmarks publish them or as the tiny family writes them: one reader for both.

Under one folder: gsm8k/{split}.jsonl, mbpp/{split}.jsonl, alpaca_eval/{split}.json, human_eval/test.jsonl; or, as
published, gsm8k/test.jsonl and train.jsonl (openai/grade-school-math at 3101c7d), mbpp/mbpp.jsonl (google-research at
f82046b, split by task_id), alpaca_eval/alpaca_eval.json (AlpacaEval 1.0's instructions and reference outputs),
alpaca_eval/val.json (AlpacaFarm's validation instructions) and human_eval/HumanEval.jsonl.gz (openai/human-eval at
6d43fb9). Without a folder the same content comes from the hub at pinned commits (eval/tasks/hub.py).

text_davinci_003_outputs.json holds the same instructions with other outputs of the same model: those of its own row
on AlpacaEval's leaderboard, not the reference that the published verdicts compare with. It serves where
alpaca_eval.json is missing: prompts and published verdicts don't depend on the difference, a judge asked anew does.

Development splits leave the tests whole (1,319, 500 and 805 problems): the last 1,000 training problems of GSM8K,
MBPP's validation and training problems (511 to 974), AlpacaFarm's validation instructions. HumanEval has none.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from eval.errors import InputError
from eval.tasks.hub import HUB, Rows, fetch
from eval.tasks.prompts import find_format

VARIABLE = "DELLA_DATA_DIR"
GSM8K_DEV = 1000  # the last problems of the training file: no test problem is ever used to choose anything
MBPP_TEST = range(11, 511)
MBPP_DEV = range(511, 975)


def by_task_id(rows: Rows, wanted: range) -> Rows:
    return sorted((row for row in rows if row["task_id"] in wanted), key=lambda row: row["task_id"])


def from_alpaca_farm(rows: Rows) -> Rows:
    """AlpacaFarm's rows as AlpacaEval's: its optional input follows the instruction after an empty line."""
    return [
        {
            "instruction": "\n\n".join(text for text in (row["instruction"], row.get("input")) if text),
            "output": row["output"],
            "generator": "text_davinci_003",
            "dataset": "alpaca_farm",
        }
        for row in rows
    ]


Select = Callable[[Rows], Rows]
# (benchmark, split) -> where that split is: (file, which of its rows), the first file that exists wins
SOURCES: dict[tuple[str, str], list[tuple[str, Select]]] = {
    ("gsm8k", "test"): [("test.jsonl", list)],
    ("gsm8k", "dev"): [("dev.jsonl", list), ("train.jsonl", lambda rows: rows[-GSM8K_DEV:])],
    ("mbpp", "test"): [("test.jsonl", list), ("mbpp.jsonl", lambda rows: by_task_id(rows, MBPP_TEST))],
    ("mbpp", "dev"): [("dev.jsonl", list), ("mbpp.jsonl", lambda rows: by_task_id(rows, MBPP_DEV))],
    ("alpaca_eval", "test"): [
        ("test.json", list),
        ("alpaca_eval.json", list),
        ("text_davinci_003_outputs.json", list),
    ],
    ("alpaca_eval", "dev"): [("dev.json", list), ("val.json", from_alpaca_farm)],
    ("humaneval", "test"): [("test.jsonl", list), ("HumanEval.jsonl.gz", list)],
}
FOLDERS = {"humaneval": "human_eval"}  # where a benchmark's folder is not called like itself
FIELDS = {
    "gsm8k": ("question", "answer"),
    "mbpp": ("task_id", "text", "test_list"),
    "alpaca_eval": ("instruction", "output"),
    "humaneval": ("task_id", "prompt", "entry_point", "test"),
}


@dataclass(frozen=True)
class Published:
    """A split as the papers used it: its number of documents, SHA-256 of their content and of the authors' own file.

    content: by `content_sha256`; file: what `data_sha256` gives for the file in a folder, so that a run is the same run
    wherever its data came from.
    """

    documents: int
    content: str
    file: str


PUBLISHED = {
    ("gsm8k", "test"): Published(
        1319,
        "13ee343c128dbc3cee820f744d547416974a23f2ea356a454d4aa3376a35bd37",
        "3730d312f6e3440559ace48831e51066acaca737f6eabec99bccb9e4b3c39d14",
    ),
    ("gsm8k", "dev"): Published(
        1000,
        "f51a40f468cf33e13cfd72da2ba86d12dd22dfc92d80b240592c1c356cfc8218",
        "17f347dc51477c50d4efb83959dbb7c56297aba886e5544ee2aaed3024813465",
    ),
    ("mbpp", "test"): Published(
        500,
        "c770ab34814dc63e46f5f057dbdbb079d61ebfee2c84603b0486226c7dce9a9d",
        "ccf64ceae9c5403bf50a044cb6d505bfd2a2963ee58338ba268fd65beab92a9f",
    ),
    ("mbpp", "dev"): Published(
        464,
        "e02147a9f138bc0618411f5ad2bd96b53e3560919e14abdedc18f358a38a05b0",
        "ccf64ceae9c5403bf50a044cb6d505bfd2a2963ee58338ba268fd65beab92a9f",
    ),
    ("humaneval", "test"): Published(
        164,
        "6e57178779025b32beb774bdcd9fec49f211bd84ce9c13946b66129459cd0f1a",
        "b796127e635a67f93fb35c04f4cb03cf06f38c8072ee7cee8833d7bee06979ef",
    ),
    ("alpaca_eval", "test"): Published(
        805,
        "3483ec2801a614d210de310fd7613f8615fe5df062a061b0a009b1d391529543",
        "d92b92c51e8f1962a21193abe74e6f727c2bc8286035f4041505ff38a7c3ae51",
    ),
}  # AlpacaFarm's file has not been at hand: its commit alone says what it is


def content_sha256(benchmark: str, rows: Rows) -> str:
    """SHA-256 (hex) of what matters of documents, in their order: FIELDS, and what runs before MBPP's tests."""
    fields = (*FIELDS[benchmark], "test_setup_code") if benchmark == "mbpp" else FIELDS[benchmark]
    kept = [{field: row.get(field, "") for field in fields} for row in rows]
    return hashlib.sha256(json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def data_folder_of(data: str | Path | None) -> Path | None:
    """The folder named, else that of DELLA_DATA_DIR, else None: the hub."""
    named = data or os.environ.get(VARIABLE)
    return Path(named) if named else None


def _sources(benchmark: str, split: str) -> list[tuple[str, Select]]:
    if (benchmark, split) not in SOURCES:
        known = " or ".join(sorted(other for name, other in SOURCES if name == benchmark))
        raise InputError(f"unknown split {split!r} of {benchmark}: write {known}")
    return SOURCES[benchmark, split]


def find_source(benchmark: str, folder: str | Path, split: str) -> tuple[Path, Select]:
    """The file that holds a split, and the function that takes the split's rows out of it.

    Raises InputError when the split is unknown or no such file exists, naming the files that would do.
    """
    sources = _sources(benchmark, split)
    here = Path(folder) / FOLDERS.get(benchmark, benchmark)
    for name, select in sources:
        if (here / name).is_file():
            return here / name, select
    names = " or ".join(name for name, _ in sources)
    raise InputError(f"no {split} data of {benchmark}: put {names} into {here}, or name the right data folder")


def data_sha256(benchmark: str, folder: str | Path | None, split: str) -> str:
    """SHA-256 (hex) of the file a split is read from; of the hub's, that of the same file as its authors publish it.

    Raises InputError as `read_documents` does for data that is not there.
    """
    place = data_folder_of(folder)
    if place is not None:
        return hashlib.sha256(find_source(benchmark, place, split)[0].read_bytes()).hexdigest()
    rows = read_hub(benchmark, split)
    published = PUBLISHED.get((benchmark, split))
    return published.file if published else content_sha256(benchmark, rows)


def read_documents(benchmark: str, folder: str | Path | None, split: str) -> Rows:
    """The documents of a split as the file has them, in the file's order (MBPP's published file: by task_id).

    folder: None is DELLA_DATA_DIR, or the hub where that is not set.
    Raises InputError for a missing file, one that is not JSON, or a document without one of FIELDS.
    """
    place = data_folder_of(folder)
    if place is None:
        return read_hub(benchmark, split)
    path, select = find_source(benchmark, place, split)
    return select(_checked(benchmark, _parse(path), str(path)))


def _parse(path: Path) -> Rows:
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8")
        if path.suffix == ".json":
            rows = json.loads(text)
        else:
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
    except json.JSONDecodeError as error:
        raise InputError(f"{path} is not valid JSON ({error}): fetch the file again") from None
    except (gzip.BadGzipFile, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}): fetch the file again") from None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path}: not a list of documents; fetch the file again")
    return rows


def _checked(benchmark: str, rows: Rows, where: str) -> Rows:
    for number, row in enumerate(rows):
        missing = [field for field in FIELDS[benchmark] if field not in row]
        if missing:
            raise InputError(f"{where}: document {number} (from 0) lacks {', '.join(missing)}")
    return rows


@lru_cache(maxsize=len(SOURCES))
def read_hub(benchmark: str, split: str) -> Rows:
    """The documents of a split from the hub, equal to what the papers used: checked by `content_sha256`.

    Raises InputError where the hub cannot be reached, or gives something else.
    """
    names = " or ".join(name for name, _ in _sources(benchmark, split))
    folder = FOLDERS.get(benchmark, benchmark)
    instead = f"put {names} into DIR/{folder} and write data=DIR (experts.data=DIR in a run) or set {VARIABLE}=DIR"
    files = HUB[benchmark, split]
    select = SOURCES[benchmark, split][-1][1]  # of the published file
    rows = select(_checked(benchmark, fetch(files, instead), f"{files.repo} at {files.revision[:7]}"))
    published = PUBLISHED.get((benchmark, split))
    if published and content_sha256(benchmark, rows) != published.content:
        raise InputError(f"{files.repo} at {files.revision[:7]} is not the published {benchmark} {split}: {instead}")
    return rows


def _warn_unless(same: bool, benchmark: str, split: str) -> None:
    """On standard error: Hydra switches logging off."""
    if not same:
        text = f"{benchmark}: as many {split} documents as the published benchmark has, but others (by SHA-256)"
        print(f"warning: {text}", file=sys.stderr)


def load_rows(benchmark: str, *, data: str | None = None, split: str = "test", prompts: str = "wizard_13b") -> Rows:
    """One flat row per document: id (str), group (str), prompt (str), prompts (str) and document (JSON text).

    The id is the 0-based row of the split, or MBPP's or HumanEval's task_id. The document travels as text because
    lm-eval's dataset tables would give every document the union of all documents' keys.
    """
    form = find_format(prompts, benchmark)
    documents = read_documents(benchmark, data, split)
    published = PUBLISHED.get((benchmark, split))
    if published and benchmark != "alpaca_eval" and len(documents) == published.documents:
        _warn_unless(content_sha256(benchmark, documents) == published.content, benchmark, split)
    return [
        {
            "id": str(document.get("task_id", number)),
            "group": document.get("group", "all"),
            "prompt": form.prompt(document),
            "prompts": prompts,
            "document": json.dumps(document),
        }
        for number, document in enumerate(documents)
    ]
