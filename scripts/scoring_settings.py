"""The options of `python -m scripts.score`, but for the judge's, which scripts/schema.py adds."""

from dataclasses import dataclass, field

from omegaconf import MISSING

from della.errors import InputError
from eval.sandbox import MOST_MB, MOST_SECONDS
from eval.tasks.prompts import FAMILIES, prompt_family
from scripts.fields import Paths, at_least, one_of, option

BENCHMARKS = ("gsm8k", "mbpp", "humaneval", "alpaca_eval")


@dataclass
class ScoreOptions:
    benchmark: str = option(MISSING, "what was answered: gsm8k | mbpp | humaneval | alpaca_eval")
    samples: str | None = option(
        None, 'gsm8k, mbpp, humaneval: file of lines {"id": ..., "output": ...}, any per problem'
    )
    annotations: str | None = option(None, "alpaca_eval: verdicts on one model in alpaca_eval's annotations format")
    outputs: str | None = option(
        None, "alpaca_eval: a model's outputs in alpaca_eval's format, for the judge to compare"
    )
    length_data: str | None = option(
        None,
        "alpaca_eval: its df_gamed.csv, for the length-controlled win rate; null: DATA/alpaca_eval/df_gamed.csv if it "
        "is there",
    )
    prompts: str = option(
        "wizard_13b", "whose raw outputs these are, which says how code is found: wizard_13b | tiny | chat"
    )
    protocol: str = option("della", "wizard_13b's protocol: della | fixed | dare (gsm8k: adds DARE's metric mergelm)")
    clean: bool = option(
        True,
        "find the code in a raw output (humaneval: if it does not go on the prompt as it is); false: take all as it is",
    )
    k: list[int] = option([1], "pass@k for each of these")
    partial: bool = option(False, "score the problems that have samples, though others have none")
    data: str | None = option(None, "folder of the benchmarks' files; null: DELLA_DATA_DIR")
    out: str | None = option(
        None, "JSON file for metrics, scores per problem, isolation and versions; null: print alone"
    )
    timeout_s: float | None = option(None, "processor time per program, seconds; null: mbpp 15, humaneval 3")
    memory_mb: int = option(512, "address space per program, MiB")
    workers: int | None = option(None, "programs that run at once; null: one per core")
    cache: bool = option(True, "use and keep verdicts on programs in paths.work/cache; false: run every program")
    paths: Paths = field(default_factory=Paths)

    def __post_init__(self) -> None:
        one_of("benchmark", self.benchmark, BENCHMARKS)
        one_of("prompts", self.prompts, tuple(FAMILIES))
        prompt_family(self.prompts, self.protocol)
        at_least("workers", self.workers, 1)
        at_least("memory_mb", self.memory_mb, 64)
        if self.timeout_s is not None and not 0 < self.timeout_s <= MOST_SECONDS:
            raise InputError(f"timeout_s={self.timeout_s:g}: write a number above 0, at most {MOST_SECONDS}")
        if self.memory_mb > MOST_MB:
            raise InputError(f"memory_mb={self.memory_mb}: write a whole number up to {MOST_MB}")
        for k in self.k:
            at_least("k", k, 1)
        if not self.k:
            raise InputError("k=[]: write at least one number, as k=[1,10]")
        if self.benchmark != MISSING:
            self._check_inputs()

    @property
    def template(self) -> str:
        return prompt_family(self.prompts, self.protocol)

    def _check_inputs(self) -> None:
        """Exactly one of the files that the benchmark takes, and none of another's."""
        takes = ("annotations", "outputs") if self.benchmark == "alpaca_eval" else ("samples",)
        given = [
            name for name in ("samples", "annotations", "outputs", "length_data") if getattr(self, name) is not None
        ]
        if wrong := [name for name in given if name not in (*takes, *(["length_data"] if len(takes) == 2 else []))]:
            raise InputError(
                f"{wrong[0]}= does not go with benchmark={self.benchmark}: write {' or '.join(takes)}=FILE"
            )
        if len(set(given) & set(takes)) != 1:
            raise InputError(f"benchmark={self.benchmark} needs {' or '.join(f'{name}=FILE' for name in takes)}")
