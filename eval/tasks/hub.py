"""Benchmark files on the Hugging Face hub, each at one commit: the source when no data folder is named.

    fetch(HUB["gsm8k", "test"], "...")      # its rows, downloaded once into the hub's own cache

eval/tasks/data.py checks what comes out of here against the content that the papers used. Nothing has been fetched from
the hub where this was written: repositories, commits and file names are those of other people's pinned downloads.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.errors import InputError

Rows = list[dict]
SECONDS = 10.0  # for the hub to answer at all


@dataclass(frozen=True)
class HubFiles:
    """Files of a dataset repository at a commit, read one after the other."""

    repo: str
    revision: str
    names: tuple[str, ...]


_GSM8K = "openai/gsm8k", "e53f048856ff4f594e959d75785d2c2d37b678ee"
_MBPP = "google-research-datasets/mbpp", "4bb6404fdc6cacfda99d4ac4205087b89d32030c"
_HUMANEVAL = "openai/openai_humaneval", "7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544"
_ALPACA_EVAL = "tatsu-lab/alpaca_eval", "2edc6fad8be6b14ea7230aabfd08188da6b8b814"
_ALPACA_FARM = "tatsu-lab/alpaca_farm", "949ce2ef02fc599458d6ab824c8fb1e292e19c46"
HUB = {
    ("gsm8k", "test"): HubFiles(*_GSM8K, ("main/test-00000-of-00001.parquet",)),
    ("gsm8k", "dev"): HubFiles(*_GSM8K, ("main/train-00000-of-00001.parquet",)),
    ("mbpp", "test"): HubFiles(*_MBPP, ("full/test-00000-of-00001.parquet",)),
    ("mbpp", "dev"): HubFiles(*_MBPP, ("full/validation-00000-of-00001.parquet", "full/train-00000-of-00001.parquet")),
    ("humaneval", "test"): HubFiles(*_HUMANEVAL, ("openai_humaneval/test-00000-of-00001.parquet",)),
    ("alpaca_eval", "test"): HubFiles(*_ALPACA_EVAL, ("alpaca_eval.json",)),
    ("alpaca_eval", "dev"): HubFiles(*_ALPACA_FARM, ("alpaca_instructions/val.json",)),
}


def fetch(files: HubFiles, instead: str) -> Rows:
    """The rows of hub files, from the hub's cache where they are, else over the network (unless HF_HUB_OFFLINE is set).

    Raises InputError where they cannot be had; `instead` ends its line: what to put where.
    """
    return [row for name in files.names for row in _rows(_download(files, name, instead))]


def _download(files: HubFiles, name: str, instead: str) -> Path:
    import huggingface_hub as hub  # half a second: not before something is fetched
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    where: dict[str, Any] = {"repo_type": "dataset", "revision": files.revision}
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON")
    http_error: Any = HfHubHTTPError.__bases__[0]  # of the client that this version of the hub's library uses
    try:
        try:
            return Path(hub.hf_hub_download(files.repo, name, local_files_only=True, **where))
        except LocalEntryNotFoundError:
            if offline:
                raise
        # One short request first: without a network the download would be tried again for minutes.
        hub.get_hf_file_metadata(hub.hf_hub_url(files.repo, name, **where), timeout=SECONDS)
        return Path(hub.hf_hub_download(files.repo, name, **where))
    except (OSError, http_error) as error:  # the hub's own errors are among these
        reason = "HF_HUB_OFFLINE is set" if offline else type(error).__name__
        raise InputError(
            f"no data folder is named, and {name} of {files.repo} cannot be had from the hub ({reason}): {instead}"
        ) from None


def _rows(path: Path) -> Rows:
    if path.suffix == ".json":
        return json.loads(path.read_text(encoding="utf-8"))
    import pyarrow.parquet

    return pyarrow.parquet.read_table(path).to_pylist()
