"""The strict schema that every script's configuration is checked against; `--help` lists its fields (scripts/help.py).

One dataclass per config group. A key that is not a field here, or a value of another type, is an error before any
weight is read. The group `method` has no files: its options are the dataclasses of `della.methods.METHODS`.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from della.errors import InputError
from della.methods import METHODS
from eval.engines.settings import Settings
from eval.tasks.prompts import FAMILIES, prompt_family
from scripts.benchmarks import some_benchmark
from scripts.calibrating.settings import Activations
from scripts.comparing.settings import CompareConfig
from scripts.experts_settings import Experts, ExpertsConfig
from scripts.fields import Paths, Tracking, at_least, one_of, option
from scripts.judges import Judge
from scripts.planning.gpus import GPUS, find_gpu
from scripts.planning.settings import Assume
from scripts.prompts_settings import PromptsConfig
from scripts.scoring_settings import ScoreOptions
from scripts.status_settings import StatusOptions
from scripts.sweep_checks import check_sweep
from scripts.sweep_settings import Sweep
from scripts.timing.engine_settings import EngineBenchConfig
from scripts.timing.settings import BenchConfig

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


@dataclass
class Unmerged:
    """No merge: the one expert named in experts.merge as it is, or the base where experts.merge is []."""

    name: ClassVar[str] = "unmerged"
    is_random: ClassVar[bool] = False


@dataclass
class Benchmark:
    expert: str = option(MISSING, "the expert whose benchmark this is")
    metric: str = option(MISSING, "the metric that tables show")


@dataclass
class Engine(Settings):
    """What generates; its options, their help and their checks are eval/engines/settings.py's."""

    name: str = option(MISSING, "what generates: vllm | hf | openai (a server)")

    def __post_init__(self) -> None:
        if self.name != MISSING:
            super().__post_init__()


@dataclass
class RunConfig:
    """One run, or a sweep of runs (`python -m scripts.run`)."""

    experts: Experts = field(default_factory=Experts)
    method: Any = MISSING
    activations: Activations = field(default_factory=Activations)
    benchmarks: dict[str, Benchmark] = field(default_factory=dict)
    engine: Engine = field(default_factory=Engine)
    judge: Judge = field(default_factory=Judge)
    tracking: Tracking = field(default_factory=Tracking)
    sweep: Sweep = field(default_factory=Sweep)
    paths: Paths = field(default_factory=Paths)
    seed: int = option(1, "mask seed")
    split: str = option("test", "prompts of a single run: dev | test")
    limit: int | None = option(None, "first N prompts of each benchmark; null: all")
    select: str = option("dev", "where a sweep chooses hyperparameters: dev | test (what the paper did)")
    workers: int = option(1, "processes of a sweep on this machine, or jobs of a cluster")
    worker: int = option(0, "which of them this is; set by the sweep")
    wait: bool = option(False, "with hydra/launcher=slurm: stay until no job is left")

    def __post_init__(self) -> None:
        one_of("split", self.split, ("dev", "test"))
        one_of("select", self.select, ("dev", "test"))
        at_least("limit", self.limit, 1)
        at_least("workers", self.workers, 1)
        some_benchmark(self.benchmarks)
        if self.sweep.name:
            check_sweep(self)


@dataclass
class ReportConfig(RunConfig):
    """Tables and figures of a sweep, from its records (`python -m scripts.report`)."""

    records: str | None = option(None, "file of compact records to report instead of the sweep's working records")
    publish: bool = option(False, "also write compact records, tables and figures into paths.results, and README.md")


@dataclass
class StatusConfig(RunConfig, StatusOptions):
    """How far a sweep is, who works on it, and how long it will take (`python -m scripts.status`)."""


@dataclass
class SyncConfig:
    """Send what was mirrored offline to W&B (`python -m scripts.sync`)."""

    tracking: Tracking = field(default_factory=Tracking)
    paths: Paths = field(default_factory=Paths)
    dry: bool = option(False, "only say what would be sent")


@dataclass
class MergeConfig:
    """Merge the models named into a folder (`python -m scripts.merge`)."""

    experts: Experts = field(default_factory=Experts)
    method: Any = MISSING
    activations: Activations = field(default_factory=Activations)
    seed: int = option(1, "mask seed")
    dtype: str | None = option(None, "dtype of the output: float16 | bfloat16 | float32; null: the base's")
    weights: dict[str, float] = option({}, "factor of each expert's pruned delta, 1 where not named: weights.NAME=0.5")
    include: list[str] = option([], "prune only tensors with such names: ['*mlp*','*attn*']; empty: all")
    exclude: list[str] = option([], "leave tensors with such names unpruned: ['*norm*','*embed*']")
    tokenizer: str = option("base", "whose tokenizer and chat template the result gets: base, or an expert's name")
    mergekit: str | None = option(None, "a mergekit YAML that says all of the above instead: --mergekit FILE")
    rescale: str | None = option(None, "with --mergekit: per_parameter (the papers) | l1 (what mergekit does)")
    check: bool = option(True, "look at a long merge first, as scripts.plan does, and refuse what cannot be right")
    device: str = option("cpu", "where the arithmetic is done: cpu | cuda; the result is the same")
    threads: int | None = option(None, "threads on the CPU; null: one per core")
    paths: Paths = field(default_factory=Paths)
    out: str = option(MISSING, "folder to write; must not exist or be empty")
    max_shard_gb: float = option(
        5.0, "largest weight file, 10^9 bytes; a killed merge goes on after its last whole one"
    )

    def __post_init__(self) -> None:
        one_of("device", self.device, ("cpu", "cuda"))
        at_least("threads", self.threads, 1)
        if self.max_shard_gb <= 0:
            raise InputError(f"max_shard_gb={self.max_shard_gb:g}: write a number above 0")
        if self.rescale is not None:
            one_of("rescale", self.rescale, ("per_parameter", "l1"))
            if self.mergekit is None:
                raise InputError(
                    f"rescale={self.rescale}: goes with --mergekit FILE; write method.rescale={self.rescale}"
                )


@dataclass
class PlanConfig(MergeConfig):
    """Say what a merge would do, need and fail at (`python -m scripts.plan`). Of a sweep's plan: sweep=NAME --help."""

    out: str | None = option(None, "folder to write; null: its disk is not checked")  # type: ignore[assignment]


@dataclass
class SweepPlanConfig(RunConfig):
    """Say what a sweep would cost: runs, tokens, time, disk, judges (`python -m scripts.plan sweep=NAME`)."""

    gpu: str | None = option(None, f"of each worker: {' | '.join(GPUS)} | other; null: as in the records at hand")
    assume: Assume = field(default_factory=Assume)
    compare: bool = option(False, "predict a sweep that has run from a few of its runs, beside what it took")
    calibrate: int = option(10, "with compare: how many of its runs to predict from, beside each worker's first")
    calibrate_on: str | None = option(None, "with compare: predict from the records of this other sweep instead")
    out: str | None = option(None, "JSON file for all of it; null: print alone")

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("calibrate", self.calibrate, 2)
        for name in ("prompt_tokens", "answer_tokens", "score_s"):
            for benchmark in getattr(self.assume, name):
                if benchmark not in self.benchmarks:
                    raise InputError(
                        f"assume.{name}.{benchmark}: no such benchmark here; write one of {', '.join(self.benchmarks)}"
                    )
        if self.gpu is not None:
            find_gpu(self.gpu)


@dataclass
class EvaluateConfig:
    """Evaluate one model folder (`python -m scripts.evaluate`)."""

    model: str = option(MISSING, "folder of the model")
    benchmarks: dict[str, Benchmark] = field(default_factory=dict)
    engine: Engine = field(default_factory=Engine)
    judge: Judge = field(default_factory=Judge)
    paths: Paths = field(default_factory=Paths)
    prompts: str = option("wizard_13b", "prompt templates: wizard_13b | tiny | chat (the model's own chat template)")
    protocol: str = option("della", "wizard_13b's protocol: della (as released) | fixed (real newlines) | dare")
    data: str | None = option(None, "folder of the benchmarks' files; null: DELLA_DATA_DIR, else the hub")
    max_new_tokens: int | None = option(None, "longest answer, tokens; null: what the benchmark's paper used")
    split: str = option("test", "dev | test")
    limit: int | None = option(None, "first N prompts of each benchmark; null: all")
    out: str | None = option(None, "JSON file for the per-prompt outcomes; null: print the scores alone")

    def __post_init__(self) -> None:
        one_of("split", self.split, ("dev", "test"))
        one_of("prompts", self.prompts, tuple(FAMILIES))
        at_least("limit", self.limit, 1)
        at_least("max_new_tokens", self.max_new_tokens, 1)
        some_benchmark(self.benchmarks, prompt_family(self.prompts, self.protocol))


@dataclass
class ScoreConfig(ScoreOptions):
    """Score outputs that are already there, without a model (`python -m scripts.score`)."""

    judge: Judge = field(default_factory=Judge)


@dataclass
class ActivationsConfig(ExpertsConfig):
    """Measure experts' input activations, for rankings by WANDA's scores (`python -m scripts.activations`)."""

    activations: Activations = field(default_factory=Activations)


ROOTS = {
    "activations": ActivationsConfig,
    "run": RunConfig,
    "report": ReportConfig,
    "status": StatusConfig,
    "sync": SyncConfig,
    "merge": MergeConfig,
    "plan": PlanConfig,
    "plan_sweep": SweepPlanConfig,
    "evaluate": EvaluateConfig,
    "score": ScoreConfig,
    "experts": ExpertsConfig,
    "bench": BenchConfig,
    "prompts": PromptsConfig,
    "compare": CompareConfig,
    "bench_engines": EngineBenchConfig,
}


def group_choices(group: str) -> list[str]:
    """What may be written as group=NAME."""
    if group == "method":
        return [*METHODS, "unmerged"]
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def register() -> None:
    """Puts every schema into Hydra's store: `schema/<root>`, the groups' own, and one `method/<name>` per method."""
    store = ConfigStore.instance()
    for name, node in ROOTS.items():
        store.store(group="schema", name=name, node=node, package="_global_")
    store.store(group="method", name="unmerged", node=Unmerged, package="method")
    for name, method in METHODS.items():
        store.store(group="method", name=name, node=method.options, package="method")
