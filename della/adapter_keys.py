"""The tensor names in a LoRA adapter's file: which factors belong together, to which tensor of a base, which way round.

    keys = read_keys(file, headers, settings)
    keys.pairs          # lora_A and lora_B of a module
    keys.full           # tensors held as they are: modules_to_save, biases

PEFT saves `base_model.model.MODULE.lora_A.weight`, `.lora_B.weight`, for embeddings `.lora_embedding_A`, `_B`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from della.errors import InputError, some
from della.headers import FLOATS, Header
from della.lora_config import REMEDY, LoraSettings

_PREFIX = "base_model.model."
_DOWN, _UP = ".lora_A.weight", ".lora_B.weight"
_EMBEDDING_DOWN, _EMBEDDING_UP = ".lora_embedding_A", ".lora_embedding_B"
_TRIED = 8  # names that changes of prefix are taken from: one alone may be the one that the base lacks
_COPY = ".base_layer.weight"
# Other parts of adapters: nothing else that PEFT trains may pass for a tensor of the model.
_FOREIGN = ("lora_", "trainable_tokens", "token_adapter", "prompt_", "ia3_", "hada_", "lokr_", "oft_", "vera_")


@dataclass(frozen=True)
class Pair:
    """The factors of one module: delta = scaling * up @ down, seen as (out, in).

    down, up: their names in the file.
    shape: (out, in) of the product; an embedding's is (dimension, rows) and is transposed.
    """

    module: str
    down: str
    up: str
    shape: tuple[int, int]
    scaling: float
    embedding: bool


@dataclass
class Keys:
    """What an adapter's file holds.

    pairs: factors, by module.
    full: name without PEFT's additions -> name in the file, of tensors that are held as they are.
    copies: module -> name in the file of the base's own embeddings, which PEFT saves beside their LoRA.
    """

    pairs: list[Pair] = field(default_factory=list)
    full: dict[str, str] = field(default_factory=dict)
    copies: dict[str, str] = field(default_factory=dict)

    def find_prefix(self, headers: Mapping[str, Header]) -> tuple[list[str], Callable[[str], str]]:
        """How the adapter's names become the base's: as they are, or with one prefix more or less, as "model.".

        Names that are the base's stay. For the rest, it is the one change of prefix that fits most of them.

        Returns:
            What is not clear, and the change of a name of a tensor or module.
        """
        strange = sorted({*(f"{pair.module}.weight" for pair in self.pairs), *self.full} - set(headers))
        candidates = {change for name in strange[:_TRIED] for change in _prefixes(name, headers)}
        fits = {change: sum(_changed(name, change) in headers for name in strange) for change in sorted(candidates)}
        best = [change for change in fits if fits[change] == max(fits.values())]
        if len(best) > 1:
            ways = some(_changed(strange[0], change) for change in best)
            return [f"{strange[0]} may be any of {ways}"], lambda name: name

        def edit(name: str) -> str:
            changed = _changed(name, best[0]) if best else name
            known = any(form in headers for form in (name, f"{name}.weight"))
            return changed if not known and any(form in headers for form in (changed, f"{changed}.weight")) else name

        return [], edit

    def orient(
        self, headers: Mapping[str, Header], edit: Callable[[str], str], flag: bool
    ) -> tuple[list[str], dict[str, bool]]:
        """Which products are transposed, seen from the base's shapes: GPT-2's Conv1D stores (in, out).

        A square product fits both ways. It goes as those of its kind that are not square (the same last part of the
        module's name), else as all others and adapter_config.json say, if they agree.

        Returns:
            What does not fit, and module -> whether it is transposed.
        """
        lost = {pair.module for pair in self.pairs if f"{edit(pair.module)}.weight" not in headers}
        problems = [f"the base has no weight for {some(lost)}"] if lost else []
        found: dict[str, bool] = {}
        square: list[str] = []
        seen: set[tuple[str, bool]] = set()  # last part of a module's name, whether transposed
        for pair in self.pairs:
            if pair.module in lost:
                continue
            shape, turned = headers[f"{edit(pair.module)}.weight"].shape, pair.shape[::-1]
            if shape not in (pair.shape, turned) or (pair.embedding and shape != turned):
                expected = list(turned if pair.embedding else pair.shape)
                problems.append(f"{pair.module} is of {expected} where the base has {list(shape)}")
            elif shape == turned == pair.shape and not pair.embedding:
                square.append(pair.module)
            else:
                found[pair.module] = shape == turned
                seen |= set() if pair.embedding else {(_last(pair.module), shape == turned)}
        for module in square:
            kind = {way for last, way in seen if last == _last(module)}
            ways = kind if len(kind) == 1 else {flag, *(way for _, way in seen)}
            if len(ways) > 1:
                problems.append(f"{module} is square, and whether it is transposed cannot be told")
            found[module] = min(ways)
        return problems, found


def read_keys(file: Path, headers: Mapping[str, Header], settings: LoraSettings) -> Keys:
    """Sort the tensors of an adapter's file.

    Raises:
        InputError: a tensor is of no kind that can be merged, a factor lacks its other, or their shapes contradict each
            other or adapter_config.json.
    """
    keys = Keys()
    partner = {_UP: _DOWN, _DOWN: _UP, _EMBEDDING_UP: _EMBEDDING_DOWN, _EMBEDDING_DOWN: _EMBEDDING_UP}
    foreign = []
    for key in sorted(headers):
        name = key.removeprefix(_PREFIX)
        ending = next((ending for ending in partner if name.endswith(ending)), None)
        if ending:
            stem = key.removesuffix(ending)
            if stem + partner[ending] not in headers:
                raise InputError(f"{file}: {key} is there without {partner[ending][1:]}; download it again")
            if ending in (_DOWN, _EMBEDDING_DOWN):
                keys.pairs.append(_pair(file, stem, ending, headers, settings))
        elif any(part.startswith(_FOREIGN) for part in name.split(".")):
            foreign.append(name)
        elif name.endswith(_COPY) and any(
            key.removesuffix(_COPY) + down in headers for down in (_DOWN, _EMBEDDING_DOWN)
        ):
            keys.copies[name.removesuffix(_COPY)] = key
        else:
            keys.full[name.replace(".base_layer.", ".").replace(".modules_to_save.", ".")] = key
    if foreign:
        raise InputError(f"{file}: holds {some(foreign)}, which is no plain LoRA; {REMEDY}")
    if not keys.pairs and not keys.full:
        raise InputError(f"{file}: holds no tensor; download it again")
    return keys


def _pair(file: Path, stem: str, ending: str, headers: Mapping[str, Header], settings: LoraSettings) -> Pair:
    module, down, up = stem.removeprefix(_PREFIX), stem + ending, stem + ending.replace("_A", "_B")
    shapes = [headers[key].shape for key in (down, up)]
    if any(len(shape) > 2 for shape in shapes):
        raise InputError(f"{file}: {module} is a convolution, whose LoRA is not merged here; {REMEDY}")
    rank = settings.rank(module)
    if any(len(shape) != 2 or 0 in shape for shape in shapes):
        raise InputError(
            f"{file}: the factors of {module} are {list(shapes[0])} and {list(shapes[1])}, parts of what was trained; "
            "gather the shards before saving"
        )
    for key in (down, up):
        if headers[key].dtype not in FLOATS:
            raise InputError(f"{file}: {key} is {headers[key].dtype}; save the adapter in float32")
    if (shapes[0][0], shapes[1][1]) != (rank, rank):
        raise InputError(
            f"{file}: the factors of {module} are {list(shapes[0])} and {list(shapes[1])} where adapter_config.json "
            f"says rank {rank}; use the adapter_config.json it was saved with"
        )
    shape = (shapes[1][0], shapes[0][1])
    return Pair(module, down, up, shape, settings.scaling(module), ending == _EMBEDDING_DOWN)


def _prefixes(name: str, headers: Mapping[str, Header]) -> set[tuple[str, str]]:
    """(more, less): what to put before a name and what to take off it, so that the base has it."""
    longer = {(other.removesuffix(name), "") for other in headers if other.endswith(f".{name}")}
    parts = name.split(".")
    shorter = {("", ".".join(parts[:n]) + ".") for n in range(1, len(parts)) if ".".join(parts[n:]) in headers}
    return longer | shorter


def _changed(name: str, change: tuple[str, str]) -> str:
    more, less = change
    return more + name.removeprefix(less)


def _last(module: str) -> str:
    return module.rpartition(".")[2]
