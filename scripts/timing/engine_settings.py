"""The options of `python -m scripts.bench_engines`."""

from dataclasses import dataclass, field

from della.errors import InputError
from scripts.fields import Paths, at_least, one_of, option

ENGINES = ("vllm", "hf")
RECIPES = ("full", "minute", "pico")
TINY = "tiny"


@dataclass
class EngineBenchConfig:
    """vLLM beside transformers: throughput, swaps against restarts (`python -m scripts.bench_engines`)."""

    models: list[str] = option([TINY, "0.1"], "what is measured: tiny (a trained family), or billions of parameters")
    recipe: str = option("minute", "recipe of the tiny family: full, minute or pico")
    engines: list[str] = option(list(ENGINES), f"what generates: {', '.join(ENGINES)}")
    batches: list[int] = option([1, 8, 32, 128], "answers generated at a time")
    prompts: int = option(16, "prompts of a measurement at least; at most twice as many as are answered at a time")
    new_tokens: int = option(48, "longest answer, tokens")
    swaps: int = option(10, "swaps of each kind in a measurement; it keeps their median")
    rounds: int = option(3, "measured rounds, interleaved; the table has their medians")
    again: list[str] = option([], f"measure these again, though it was done: {', '.join(ENGINES)}")
    publish: bool = option(False, "also write measurements, table and figure into paths.results/bench")
    paths: Paths = field(default_factory=Paths)

    def __post_init__(self) -> None:
        for name in ("prompts", "new_tokens", "swaps", "rounds"):
            at_least(name, getattr(self, name), 1)
        for batch in self.batches:
            at_least("batches", batch, 1)
        one_of("recipe", self.recipe, RECIPES)
        for where in ("engines", "again"):
            for engine in getattr(self, where):
                one_of(where, engine, ENGINES)
        for model in self.models:
            if model != TINY and not size_of(model):
                raise InputError(f"models={model}: write tiny, or billions of parameters from 0.001 to 100")


def size_of(model: str) -> float | None:
    """Billions of parameters; None for tiny, and for what is no size."""
    try:
        size = float(model)
    except ValueError:
        return None
    return size if 0.001 <= size <= 100 else None
