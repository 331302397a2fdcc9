"""Where the files of the benchmarks are."""

from pathlib import Path

from della.errors import InputError
from eval.tasks.data import data_folder_of


def data_folder(data: str | None) -> Path | None:
    """The folder of the benchmarks' files: the one named, else DELLA_DATA_DIR, else None, which is the hub.

    Raises InputError for a folder that is not there.
    """
    folder = data_folder_of(data)
    if folder is not None and not folder.is_dir():
        raise InputError(f"{folder}: no such folder of benchmark data; its layout is described in README.md")
    return folder
