"""scripts.merge with a clock around its parts; prints JSON: seconds of each, and when the merge began and ended.

python -m scripts.timing.inside ARGUMENTS...        # those of scripts.merge
"""

import functools
import importlib
import json
import threading
import time
from collections.abc import Callable
from typing import Any

# Attribute -> what it is. The first ones follow each other; the others run in several threads at once.
PARTS = {
    "della.output.make_job": "tensors and vocabularies compared",
    "della.output._write_shards": "shards",
    "della.output._write_files": "config and tokenizer",
    "della.output._facts": "hashes of the inputs",
    "della.staging.Staging.settle": "waiting for the disk at the end",
}
THREADED = {
    "della.engine.survey.survey": "surveys: cuts, norms, sorted magnitudes",
    "della.engine.blocks.merge_block": "kernels (pages of the inputs are mapped there)",
    "della.engine.sinks.FileTarget.write": "writes into the page cache",
    "della.staging.Staging.begin": "space for shards",
    "os.fdatasync": "flushing shards in the background",
    "os.fsync": "flushing the last of each file",
}


def owner_of(path: str) -> tuple[Any, str]:
    """The module or class that holds an attribute, and the attribute's name."""
    parts = path.split(".")
    for length in range(len(parts) - 1, 0, -1):
        try:
            owner: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for name in parts[length:-1]:
            owner = getattr(owner, name)
        return owner, parts[-1]
    raise LookupError(path)


def timed(function: Callable, name: str, spent: dict[str, float], lock: threading.Lock) -> Callable:
    """The function, its seconds added up."""

    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            seconds = time.perf_counter() - started
            with lock:
                spent[name] = spent.get(name, 0.0) + seconds

    return run


def main() -> None:
    import scripts.merge as entry

    spent: dict[str, float] = {}
    lock = threading.Lock()
    for path in (*PARTS, *THREADED):
        owner, name = owner_of(path)
        setattr(owner, name, timed(getattr(owner, name), path, spent, lock))
    marks = {"imported": time.time()}
    output, name = owner_of("della.output.merge_to_folder")
    merge = getattr(output, name)

    def marked(*args: Any, **kwargs: Any) -> Any:
        marks["begun"] = time.time()
        try:
            return merge(*args, **kwargs)
        finally:
            marks["merged"] = time.time()

    setattr(output, name, marked)
    entry.main()
    print(json.dumps({"marks": marks, "parts": spent}))


if __name__ == "__main__":
    main()
