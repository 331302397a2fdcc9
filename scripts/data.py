"""Where the files of the benchmarks are."""

import os
from pathlib import Path

from della.errors import InputError


def data_folder(data: str | None) -> Path | None:
    """The folder of the benchmarks' files: the one named, else DELLA_DATA_DIR, else None, which is the hub.

    Raises InputError for a folder that is not there.
    """
    named = data or os.environ.get("DELLA_DATA_DIR")
    if not named:
        return None
    if not Path(named).is_dir():
        raise InputError(f"{named}: no such folder of benchmark data; its layout is described in README.md")
    return Path(named)
