"""What can be chosen about a family of experts, and about fetching one: the groups `experts` and scripts.experts."""

from dataclasses import dataclass, field

from omegaconf import MISSING

from della.errors import InputError
from della.experts import VOCAB
from della.headers import OUTPUTS
from eval.tasks.prompts import FAMILIES, prompt_family
from scripts.fetching.sources import read_source
from scripts.fields import Paths, at_least, one_of, option


@dataclass
class Experts:
    family: str = option(MISSING, "name of the family in records and tables")
    recipe: str | None = option(None, "how this family is trained from nothing: full, minute or pico; null: folders")
    seed: int = option(0, "training seed of a family made by a recipe")
    base: str = option("", "folder of the base model")
    models: dict[str, str] = option({}, "folder of each expert: experts.models.NAME=DIR")
    hub: dict[str, str] = option(
        {}, "what scripts.experts fetches: experts.hub.NAME=OWNER/REPOSITORY@COMMIT, NAME base or an expert's"
    )
    path: str | None = option(
        None, "folder of a family from the hub, one folder in it for each NAME; null: WORK/experts/FAMILY"
    )
    merge: list[str] | None = option(None, "names of the experts to merge; null: all of them; []: the base alone")
    vocab: str = option("error", "extra vocabulary rows of an expert: error | base_rows (cut off) | union (added)")
    merge_dtype: str | None = option(None, "dtype of merges: float16 | bfloat16 | float32; null: the base's")
    generation_dtype: str = option("float32", "dtype while generating, unless engine.dtype says otherwise")
    prompts: str = option("tiny", "prompt templates: tiny | wizard_13b | chat (the model's own chat template)")
    protocol: str = option("della", "wizard_13b's protocol: della (as released) | fixed (real newlines) | dare")
    data: str | None = option(
        None, "folder of the benchmarks' files; null: the recipe's, else DELLA_DATA_DIR, else the hub"
    )
    max_new_tokens: int | None = option(None, "longest answer, tokens; null: what the benchmark's paper used")

    def __post_init__(self) -> None:
        one_of("experts.vocab", self.vocab, VOCAB)
        one_of("experts.prompts", self.prompts, tuple(FAMILIES))
        one_of("experts.generation_dtype", self.generation_dtype, OUTPUTS)
        if self.merge_dtype is not None:
            one_of("experts.merge_dtype", self.merge_dtype, OUTPUTS)
        prompt_family(self.prompts, self.protocol)
        at_least("experts.max_new_tokens", self.max_new_tokens, 1)
        for name, text in self.hub.items():
            read_source(name, text)
        if "base" in self.models:
            raise InputError("experts.models.base: the base is named as experts.base=DIR; call the expert otherwise")
        if self.path is not None and not self.hub:
            raise InputError(
                "experts.path goes with experts.hub; name folders as experts.base=DIR experts.models.NAME=DIR"
            )


@dataclass
class ExpertsConfig:
    """Make, fetch or check a family of experts (`python -m scripts.experts`)."""

    experts: Experts = field(default_factory=Experts)
    paths: Paths = field(default_factory=Paths)
    seeds: list[int] = option([], "training seeds to make, one family each; empty: experts.seed alone")
    pin: bool = option(False, "take the newest commit of a repository that names none, and keep to it from then on")
