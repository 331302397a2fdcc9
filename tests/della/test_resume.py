"""A merge that was stopped: the same call goes on after its whole shards, any other starts afresh; the bytes agree."""

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from della.checkpoint import Checkpoint, MemoryCheckpoint
from della.errors import InputError
from della.folder import write_weights
from della.methods import make_method
from della.output import merge_to_folder
from della.policy import Policy
from tests.della.models import philox_model

SIDE = 32
SHAPES = {f"t{index}.weight": (SIDE, SIDE) for index in range(8)}
SHARD = 2 * SIDE * SIDE  # bytes: one tensor of two bytes each; a larger one has a shard of its own, so there are eight
LAST = "t7.weight"
STOP = 5 * SIDE * SIDE  # parameters: in the sixth tensor, when the first ones can be whole


@dataclass(frozen=True)
class Arguments:
    """What a merge is called with, beside its folders."""

    seed: int = 1
    drop_rate: float = 0.5
    weight: float = 1.0
    dtype: str | None = None


@pytest.fixture
def family(tmp_path) -> Path:
    """Folders of a base and two experts, each in eight shards."""
    folder = tmp_path / "family"
    for name in ("base", "lm", "math"):
        save(folder / name, philox_model(name, SHAPES))
    return folder


@pytest.fixture
def results(tmp_path) -> Path:
    """A folder for merged folders alone: what a merge leaves behind shows here."""
    (tmp_path / "results").mkdir()
    return tmp_path / "results"


def save(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """A model folder with one shard per tensor; writes the same files when it is called again."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "llama"}\n')
    write_weights(folder, MemoryCheckpoint(tensors, folder.name), max_shard_bytes=SHARD)
    assert len(list(folder.glob("model-*.safetensors"))) == len(SHAPES)


def run(family: Path, out: Path, arguments: Arguments, progress: Callable[[int], object] = lambda count: None):
    """Merges the two experts into one shard per tensor; the lines that the user was told."""
    told: list[str] = []
    method = make_method("della", drop_rate=arguments.drop_rate, epsilon=0.2)
    merge_to_folder(
        Checkpoint(family / "base"),
        {name: Checkpoint(family / name) for name in ("lm", "math")},
        Policy(method, {"lm": arguments.weight}),
        arguments.seed,
        out,
        dtype=arguments.dtype,
        max_shard_bytes=SHARD,
        threads=1,
        progress=progress,
        told=told.append,
    )
    return told


class Waits:
    """Progress that, once STOP parameters are done, waits for two shards to be whole, and then may press Ctrl-C.

    Shards are flushed in the background, so that how many are whole at a moment is otherwise left to chance.
    """

    def __init__(self, out: Path, interrupts: bool):
        self.journal, self.interrupts = working_folder(out) / "done", interrupts
        self.done, self.whole = 0, 0

    def __call__(self, count: int) -> None:
        self.done += count
        if self.whole or self.done <= STOP:
            return
        deadline = time.monotonic() + 60
        while len(list(self.journal.glob("*.json"))) < 2:
            assert time.monotonic() < deadline, "no shard became whole"
            time.sleep(0.01)
        self.whole = len(list(self.journal.glob("*.json")))
        if self.interrupts:
            raise KeyboardInterrupt


def working_folder(out: Path) -> Path:
    return out.with_name(f".{out.name}.merging")


def interrupt(family: Path, out: Path, arguments: Arguments) -> dict[str, int]:
    """Merges until some shards are whole and others are not; the whole ones, each with its inode."""
    with pytest.raises(KeyboardInterrupt):
        run(family, out, arguments, Waits(out, interrupts=True))
    assert not out.exists()
    whole = {path.name: path.stat().st_ino for path in (working_folder(out) / "files").glob("*.safetensors")}
    assert 2 <= len(whole) < len(SHAPES)
    return whole


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_merge_goes_on_after_its_whole_shards_and_gives_the_bytes_of_an_undisturbed_one(family, results):
    out, arguments = results / "merged", Arguments()
    whole = interrupt(family, out, arguments)
    assert run(family, out, arguments) == [
        f"going on with a merge that was stopped: {len(whole)} of {len(SHAPES)} shards are whole"
    ]
    assert {file: (out / file).stat().st_ino for file in whole} == whole, "a whole shard was written again"

    assert run(family, results / "undisturbed", arguments) == []
    assert contents(out) == contents(results / "undisturbed")
    assert sorted(path.name for path in results.iterdir()) == ["merged", "undisturbed"]


def test_a_merge_that_is_stopped_twice_goes_on_twice(family, results):
    """Progress counts the shards that are whole already, so that the second stop too is in the sixth tensor."""
    out, arguments = results / "merged", Arguments()
    first = interrupt(family, out, arguments)
    second = interrupt(family, out, arguments)
    assert first.items() <= second.items()
    assert len(run(family, out, arguments)) == 1
    run(family, results / "undisturbed", arguments)
    assert contents(out) == contents(results / "undisturbed")


@pytest.mark.parametrize("changed", [{"seed": 2}, {"drop_rate": 0.4}, {"weight": 0.5}, {"dtype": "bfloat16"}], ids=str)
def test_a_merge_with_another_argument_starts_afresh(changed, family, results):
    out, before = results / "merged", Arguments()
    now = dataclasses.replace(before, **changed)
    interrupt(family, out, before)
    assert run(family, out, now) == []
    assert run(family, results / "undisturbed", now) == []
    run(family, results / "before", before)
    assert contents(out) == contents(results / "undisturbed")
    assert weights(out).keys() == weights(results / "before").keys()
    assert not weights(out).items() & weights(results / "before").items(), "the argument changes every shard"
    assert not working_folder(out).exists()


@pytest.mark.parametrize("model", ["base", "lm"])
def test_a_merge_of_a_file_that_was_written_again_with_other_values_starts_afresh(model, family, results):
    """The file of the last tensor changes, which no whole shard depends on: that there is a change is what counts."""
    out, arguments = results / "merged", Arguments()
    interrupt(family, out, arguments)
    file = family / model / f"model-0000{len(SHAPES)}-of-0000{len(SHAPES)}.safetensors"
    size, bytes_before = file.stat().st_size, file.read_bytes()
    tensors = philox_model(model, SHAPES)
    save(family / model, tensors | {LAST: tensors[LAST].flip(0)})
    assert file.stat().st_size == size
    assert file.read_bytes() != bytes_before

    assert run(family, out, arguments) == []
    assert run(family, results / "undisturbed", arguments) == []
    assert contents(out) == contents(results / "undisturbed")


def test_nan_in_the_last_shard_leaves_nothing_behind_of_the_whole_ones_before_it(family, results):
    tensors = philox_model("math", SHAPES)
    tensors[LAST][3, 5] = float("nan")
    save(family / "math", tensors)
    waits = Waits(results / "merged", interrupts=False)
    with pytest.raises(InputError, match=LAST):
        run(family, results / "merged", Arguments(), waits)
    assert waits.whole >= 2
    assert list(results.iterdir()) == []


def test_nan_found_when_a_stopped_merge_goes_on_leaves_nothing_behind(family, results):
    """The value is there from the start; the first call is stopped before it comes to the last tensor's blocks."""
    tensors = philox_model("math", SHAPES)
    tensors[LAST][3, 5] = float("nan")
    save(family / "math", tensors)
    interrupt(family, results / "merged", Arguments())
    with pytest.raises(InputError, match=LAST):
        run(family, results / "merged", Arguments())
    assert list(results.iterdir()) == []


def weights(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder).items() if name.endswith(".safetensors")}
