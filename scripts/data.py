"""Where the files of the benchmarks are, and whether those are there that a sweep chooses by."""

from pathlib import Path

from della.errors import InputError
from eval.errors import InputError as EvalInputError
from eval.tasks.data import data_folder_of, data_sha256
from scripts.schema import RunConfig


def data_folder(data: str | None) -> Path | None:
    """The folder of the benchmarks' files: the one named, else DELLA_DATA_DIR, else None, which is the hub.

    Raises InputError for a folder that is not there.
    """
    folder = data_folder_of(data)
    if folder is not None and not folder.is_dir():
        raise InputError(f"{folder}: no such folder of benchmark data; its layout is described in README.md")
    return folder


def check_choosing(config: RunConfig) -> None:
    """Before a sweep opens anything: the development prompts that it chooses by are there.

    Raises InputError where they are not: the protocol of the paper, which needs none, is the other way out. A family
    made by a recipe brings its own.
    """
    chooses = bool(config.sweep.arms) or any(grid.choose for grid in config.sweep.grids.values())
    if not (config.sweep.name and chooses and config.select == "dev") or (
        config.experts.recipe and not config.experts.data
    ):
        return
    folder = data_folder(config.experts.data)
    for name in config.benchmarks:
        try:
            data_sha256(name, folder, "dev")
        except EvalInputError as error:
            raise InputError(
                f"{error}; or choose on the test prompts, as the paper did: select=test (with make: SELECT=test)"
            ) from None
