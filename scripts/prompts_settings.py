"""The options of `python -m scripts.prompts`."""

from dataclasses import dataclass

from della.errors import InputError
from eval.benchmarks import BENCHMARKS
from eval.tasks.prompts import FAMILIES, prompt_family
from scripts.fields import at_least, one_of, option


@dataclass
class PromptsConfig:
    """Print what a model is shown, one JSON object per line (`python -m scripts.prompts`)."""

    benchmark: str = option("", "benchmark: gsm8k | mbpp | alpaca_eval | humaneval")
    ids: list[str] = option(
        [], "which documents: task_ids of mbpp and humaneval, rows from 0 of the others; empty: all"
    )
    random: int | None = option(None, "so many documents drawn at random instead")
    seed: int = option(0, "of the random documents")
    split: str = option("test", "dev | test")
    prompts: str = option("wizard_13b", "prompt templates: wizard_13b | tiny | chat (the model's own chat template)")
    protocol: str = option("della", "wizard_13b's protocol: della (as released) | fixed (real newlines) | dare")
    model: str | None = option(None, "folder of the model whose chat template prompts=chat fills in")
    data: str | None = option(None, "folder of the benchmarks' files; null: DELLA_DATA_DIR, else the hub")

    def __post_init__(self) -> None:
        if self.benchmark:
            one_of("benchmark", self.benchmark, tuple(BENCHMARKS))
        one_of("split", self.split, ("dev", "test"))
        one_of("prompts", self.prompts, tuple(FAMILIES))
        prompt_family(self.prompts, self.protocol)
        at_least("random", self.random, 1)
        if self.ids and self.random is not None:
            raise InputError(f"ids=[{','.join(self.ids)}] and random={self.random}: write one of the two")
        if (self.prompts == "chat") != (self.model is not None):
            raise InputError("prompts=chat and model=DIR, the model with the chat template, go together: write both")

    @property
    def template(self) -> str:
        return prompt_family(self.prompts, self.protocol)
