"""Where results that are worth keeping between commands are kept: file hashes and compiled kernels.

DELLA_CACHE names the folder; by default it is `della` in XDG_CACHE_HOME, or in ~/.cache. It may be removed any time.
"""

import os
from pathlib import Path


def cache_folder() -> Path | None:
    """The folder, made if it is not there; None where it cannot be made or written."""
    default = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "della"
    folder = Path(os.environ.get("DELLA_CACHE") or default).expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return None
    return folder if os.access(folder, os.W_OK) else None
