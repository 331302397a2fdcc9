"""What fixes a tiny family: sizes, amounts of text, learning rates. Its hash and the seed name the family's folder.

Three sizes: `full` for results, `minute` for tests that need trained experts, `pico` for tests of the plumbing.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from della.errors import InputError

# Raised whenever the same recipe and seed give other files: a folder made by older code is then not taken for this one.
CODE_VERSION = 1

EXPERTS = ("lm", "math", "code")


@dataclass(frozen=True)
class Recipe:
    """The recipe of a family; the defaults are the full one.

    Sizes: `width` (hidden size; heads have 32 channels, the smallest that vLLM serves), `layers`, `ffn` (inner size of
    the MLP), `vocab` (tokens at most). Amounts: `base_documents`, seen once each by the base in batches of
    `base_batch`; `*_examples`, seen once each by an expert in batches of `batch`; `dev` and `test` problems per
    benchmark. Rates: `muon_rate` for the base's matrices, `base_rate` for its embeddings and norms (AdamW), `*_rate`
    for an expert (AdamW).

    Raises:
        InputError: a size or an amount is not a positive whole number, a rate is not above 0, or `width` is not a
            multiple of 32.
    """

    width: int = 128
    layers: int = 3
    ffn: int = 352
    vocab: int = 1184
    base_batch: int = 32
    base_documents: int = 150_000
    batch: int = 32
    muon_rate: float = 0.02
    base_rate: float = 5e-3
    lm_examples: int = 16_000
    math_examples: int = 16_000
    code_examples: int = 8_000
    lm_rate: float = 1e-3
    math_rate: float = 1e-3
    code_rate: float = 1e-3
    dev: int = 600
    test: int = 600

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            whole = not name.endswith("_rate")
            if value <= 0 or (whole and not isinstance(value, int)):
                raise InputError(f"recipe: {name} is {value!r}; write a {'whole number' if whole else 'rate'} above 0")
        if self.width % 32:
            raise InputError(f"recipe: width is {self.width}; write a multiple of 32 (heads have 32 channels)")

    def hash(self) -> str:
        """SHA-256, 64 hex digits, of the recipe and the version of the code that follows it."""
        text = json.dumps({"code": CODE_VERSION, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def family_folder(root: Path, seed: int, recipe: Recipe) -> Path:
    """Where the family of this recipe and seed lies, built or not."""
    return root / f"tiny-{recipe.hash()[:12]}-seed{seed}"


RECIPES = {
    "full": Recipe(),
    "minute": Recipe(
        base_documents=16_000,
        base_batch=16,
        batch=16,
        lm_examples=6_000,
        lm_rate=2e-3,
        math_examples=2_500,
        code_examples=1_600,
        dev=120,
        test=120,
    ),
    "pico": Recipe(
        width=32,
        layers=2,
        ffn=64,
        base_documents=640,
        lm_examples=320,
        math_examples=320,
        code_examples=320,
        dev=24,
        test=24,
    ),
}
