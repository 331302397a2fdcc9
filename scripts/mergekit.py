"""The merge that a mergekit YAML file asks for, opened for scripts.merge.

python -m scripts.merge --mergekit config.yml out=DIR seed=1 rescale=l1

opened = open_mergekit(Path("config.yml"), seed=1)
merge_to_folder(opened.base, opened.experts, opened.policy, 1, Path("merged"), **opened.settings)
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from della.checkpoint import Checkpoint
from della.errors import InputError
from della.lora import Adapter, open_expert
from della.mergekit import MergekitRecipe, read_mergekit
from della.methods import describe
from della.policy import Policy

BESIDE = ("mergekit", "out", "seed", "rescale", "threads", "device", "check", "max_shard_gb")  # what a file leaves open


@dataclass(frozen=True)
class Opened:
    """A base and its experts, opened, and how they are merged.

    settings: further arguments of `della.output.merge_to_folder`: dtype, vocab, tokenizer, config.
    """

    base: Checkpoint
    experts: dict[str, Checkpoint | Adapter]
    policy: Policy
    settings: dict[str, Any]


def open_mergekit(file: Path, seed: int | None = None, rescale: str | None = None) -> Opened:
    """Read a mergekit file and open its models; what the file has that is other than in mergekit goes to stderr.

    Args:
        file: YAML as mergekit-yaml takes it.
        seed: of the masks; only put into the description.
        rescale: "per_parameter", "l1", or None for the former.

    Raises:
        InputError: everything in the file that cannot be honoured, or a model that cannot be opened.
    """
    rescale = rescale or "per_parameter"
    recipe = read_mergekit(file, rescale)
    for note in recipe.notes:
        print(f"note: {file}: {note}", file=sys.stderr)
    base = Checkpoint(recipe.base)
    experts = {name: open_expert(folder, base) for name, folder in sorted(recipe.models.items())}
    settings = {
        "dtype": recipe.output_dtype,
        "vocab": recipe.vocab,
        "tokenizer": recipe.tokenizer,
        "config": _described(recipe, seed, rescale),
    }
    return Opened(base, experts, recipe.policy, settings)


def _described(recipe: MergekitRecipe, seed: int | None, rescale: str) -> dict[str, Any]:
    """The merge as merge.json keeps it: the file whole, since its values may differ from tensor to tensor."""
    return {
        "mergekit": dict(recipe.config),
        "rescale": rescale,
        "experts": {
            "base": str(recipe.base),
            "models": {name: str(folder) for name, folder in sorted(recipe.models.items())},
        },
        "method": describe(recipe.policy.method),
        "seed": seed,
        "vocab": recipe.vocab,
        "tokenizer": recipe.tokenizer,
        "dtype": recipe.output_dtype,
    }


def refuse_beside(arguments: Iterable[str]) -> None:
    """Raises InputError for an argument KEY=VALUE that says what a mergekit file says itself."""
    keys = [argument.partition("=")[0] for argument in arguments if "=" in argument and not argument.startswith("-")]
    others = [key for key in keys if key not in BESIDE]
    if others:
        raise InputError(
            f"{', '.join(others)}: the mergekit file says it; beside --mergekit FILE write only {', '.join(BESIDE[1:])}"
        )
