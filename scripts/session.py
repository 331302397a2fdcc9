"""What one worker holds while it runs points: families in memory, one engine whose weights are swapped, the verdicts.

`Session.run(point)` merges in memory, swaps the merge into the engine, evaluates, and returns the record.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from della.checkpoint import Checkpoint, MemoryCheckpoint, file_sha256
from della.lora import Adapter
from della.merge import MERGE_VERSION, merge_tensors
from della.methods import METHODS, make_method
from della.provenance import Parts, process_age, provenance
from della.record import identity, make_record, score_block
from eval.benchmarks import BENCHMARKS, Outcome, count_documents, evaluate
from eval.engines import open_engine
from eval.scoring import isolation_of
from eval.tasks.data import data_sha256
from eval.tasks.prompts import prompt_family
from scripts.benchmarks import evaluated_on, some_benchmark
from scripts.calibrating.measured import Measured
from scripts.family import Family, merge_settings, open_family, opened_for_merging, unmerged_tensors
from scripts.gpus import cores
from scripts.judges import open_judge
from scripts.points import Point
from scripts.schema import RunConfig
from scripts.swap import weights_for

if TYPE_CHECKING:
    import torch  # here, for scripts.status only asks for identities

    from della.activations import Activations
    from eval.engines.base import Engine  # imports lm-eval: seconds that a mistake in the arguments must not wait for


class Session:
    """One worker's families, engine and caches. Families open when first used; only one engine is open at a time."""

    def __init__(self, config: RunConfig) -> None:
        self.config = config
        self.work = Path(config.paths.work)
        self.judge = open_judge(config.judge, self.work)
        self.prompts = prompt_family(config.experts.prompts, config.experts.protocol)
        some_benchmark(config.benchmarks, self.prompts, judged=config.judge.gsm8k)
        self.families: dict[int, Family] = {}
        self.models: dict[tuple[int, str | None], Checkpoint | MemoryCheckpoint | Adapter] = {}
        self.measured: dict[int, Measured] = {}
        self.engine: Engine | None = None
        self.engine_family: int | None = None
        self.ended: float | None = None  # when its last run did

    def family(self, seed: int) -> Family:
        if seed not in self.families:
            checked = not self.config.sweep.name  # a sweep checks the experts of each point: one that fails is a record
            self.families[seed] = open_family(self.config.experts, seed, self.work, checked)
        return self.families[seed]

    def memory(self, seed: int, expert: str | None) -> Checkpoint | MemoryCheckpoint | Adapter:
        """A model of a family, opened once: the base (None) or an expert; a small one is read into memory."""
        if (seed, expert) not in self.models:
            family = self.family(seed)
            source = family.base if expert is None else family.models[expert]
            self.models[seed, expert] = opened_for_merging(source)
        return self.models[seed, expert]

    def activations(self, seed: int) -> Measured:
        """The input activations of a family's experts, measured when a merge first needs them."""
        if seed not in self.measured:
            self.measured[seed] = Measured(self.config.activations, self.family(seed), self.config.experts, self.work)
        return self.measured[seed]

    def engine_for(self, seed: int) -> "Engine":
        """The engine, opened on the family's base: its architecture and tokenizer serve all its merges."""
        if self.engine is None or self.engine_family != seed:
            self.close()
            settings = self.config.engine
            self.engine = open_engine(settings.name, self.family(seed).base.folder, **settings.options())
            self.engine_family = seed
        return self.engine

    def close(self) -> None:
        """Frees the engine."""
        if self.engine is not None:
            self.engine.close()
            self.engine = None

    def benchmarks(self, point: Point) -> list[str]:
        """Names of the benchmarks a point is evaluated on: those of its experts, or all."""
        return evaluated_on(self.config.benchmarks, point.merge, point.on)

    def describe(self, point: Point) -> dict[str, Any]:
        """Config, inputs and versions of a point: what its identity is made of."""
        family, config, names = self.family(point.family_seed), self.config, self.benchmarks(point)
        inputs: dict[str, Any] = family.inputs(point.merge)
        if point.by_activations:
            inputs["activations"] = self.activations(point.family_seed).hashes(point.merge)
        inputs["data"] = {name: data_sha256(name, family.data, point.split) for name in names}
        if config.judge.file:
            inputs["judge"] = file_sha256(Path(config.judge.file))
        if judges := {name: who for name, who in self.judge.identity().items() if name in names}:
            inputs["judges"] = judges
        versions = {name: BENCHMARKS[name].version for name in names}
        if point.method in METHODS:
            versions["merge"] = MERGE_VERSION
        described = {
            "family": family.name,
            "family_seed": family.seed,
            "merge": list(point.merge),
            "method": point.method_config,
            "seed": point.seed,
            "split": point.split,
            "limit": point.limit,
            "benchmarks": names,
            "prompts": self.prompts,
            "max_new_tokens": config.experts.max_new_tokens,
            "engine": config.engine.identity(),
            "judge": self.judge.label,
            **self.unusual(names),
            **point.local,
        }
        return {"config": described, "inputs": inputs, "versions": versions}

    def unusual(self, benchmarks: list[str]) -> dict[str, Any]:
        """What most runs leave at its default and so is not said of them: the dtype of merges, the metrics shown."""
        said: dict[str, Any] = {}
        if self.config.experts.merge_dtype is not None:
            said["merge_dtype"] = self.config.experts.merge_dtype
        shown = {name: self.config.benchmarks[name].metric for name in benchmarks}
        if metrics := {name: metric for name, metric in shown.items() if metric != BENCHMARKS[name].metric}:
            said["metrics"] = metrics
        return said

    def identity(self, point: Point) -> str:
        """The name of the point's record."""
        return identity(**self.describe(point))

    def merged(self, point: Point) -> "tuple[dict[str, torch.Tensor], dict[str, float]]":
        """State dict of the point's model, and the drop rate each expert really had."""
        base = self.memory(point.family_seed, None)
        if point.method not in METHODS:
            source = self.memory(point.family_seed, point.merge[0]) if point.merge else base
            if isinstance(source, Adapter):  # holds a part of the model: base + delta is the average of one
                parts = merge_tensors(base, {"adapter": source}, make_method("average"), None)
                return {part.name: part.tensor for part in parts}, {}
            return unmerged_tensors(source, base, self.config.experts.vocab), {}
        experts = {name: self.memory(point.family_seed, name) for name in point.merge}
        tensors, kept, total = {}, dict.fromkeys(experts, 0), 0
        how: dict[str, Any] = merge_settings(self.config.experts)
        if point.by_activations:
            how["activations"] = self.activations(point.family_seed).of(point.merge)
        for item in merge_tensors(base, experts, point.policy, point.seed, **how):
            tensors[item.name] = item.tensor
            total += item.deltas if item.kept else 0
            for name, count in item.kept.items():
                kept[name] += count
        return tensors, {name: 1 - count / total for name, count in kept.items()}

    def run(self, point: Point, facts: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Executes a point: its record and its samples (one per prompt). Errors pass through."""
        started = time.time()
        parts = Parts({"boot": process_age()} if self.ended is None else {"before": started - self.ended})
        merge = self.swap_in(point, parts)
        return self.recorded(point, merge, self.ask(point), started, {**facts, "parts": parts})

    def swap_in(self, point: Point, parts: Parts | None = None) -> dict[str, Any]:
        """Merges a point into the engine; what its record says of the merge. parts: gets the seconds."""
        parts = parts or Parts()
        self.judge.ready()
        measured = self.measured_for(point)
        with ExitStack() as held:
            with parts.timed("merge"):
                made = weights_for(point, self.family(point.family_seed), self.config, self.merged, measured)
                weights, realised = held.enter_context(made)
            with parts.timed("engine"):  # no time unless it is not open yet
                engine = self.engine_for(point.family_seed)
            with parts.timed("swap"):
                checksum = engine.swap(weights)
        merge: dict[str, Any] = {"drop_rate": realised, "checksum": checksum}
        if measured:
            merge["activations"] = {name: activations.sha256 for name, activations in measured.items()}
        return merge

    def ask(self, point: Point, only: Mapping[str, Sequence[int]] | None = None) -> dict[str, Outcome]:
        """What the engine's weights, swapped in before, do on a point's prompts, or on some: benchmark -> documents."""
        family, experts = self.family(point.family_seed), self.config.experts
        return evaluate(
            self.engine_for(point.family_seed).lm,
            self.benchmarks(point) if only is None else sorted(only),
            family.data,
            self.prompts,
            point.split,
            point.limit,
            self.judge,
            self.work / "cache" / "verdicts",
            experts.max_new_tokens,
            workers=cores() if self.config.workers == 1 else 1,  # else each worker of the sweep has a core
            only=only,
        )

    def sizes(self, point: Point) -> dict[str, int]:
        """How many prompts a point is asked of each benchmark."""
        data, experts = self.family(point.family_seed).data, self.config.experts
        names = self.benchmarks(point)
        return count_documents(names, data, self.prompts, point.split, point.limit, experts.max_new_tokens)

    def recorded(
        self, point: Point, merge: dict[str, Any], outcomes: dict[str, Outcome], started: float, facts: dict[str, Any]
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The record and the samples of a point that was asked all its prompts."""
        scores = {
            name: score_block(self.config.benchmarks[name].metric, outcome.ids, outcome.groups, outcome.metrics)
            for name, outcome in outcomes.items()
        }
        if isinstance(parts := facts.get("parts"), Parts):
            for name, outcome in outcomes.items():
                parts.add(name, outcome.seconds)
            facts = {**facts, "parts": parts.seconds}
        facts = {"workers": self.config.workers, "gpu": gpu_name(), **self.accounted(facts)}
        facts = provenance(started, isolation=isolation_of(outcomes), **facts)
        self.ended = time.time()
        record = make_record(**self.describe(point), merge=merge, scores=scores, provenance=facts)
        return record, samples(outcomes)

    def measured_for(self, point: Point) -> "dict[str, Activations]":
        """The input activations that a point's merge needs; before any is measured the engine gives its memory back."""
        if not point.by_activations:
            return {}
        measured = self.activations(point.family_seed)
        if measured.missing(point.merge):
            self.close()
        return measured.of(point.merge)

    def failure(self, point: Point, error: Exception, facts: dict[str, Any]) -> dict[str, Any]:
        """The record of a point that could not be run."""
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return make_record(
            **self.describe(point), error=reason, provenance=provenance(time.time(), **self.accounted(facts))
        )

    def accounted(self, facts: dict[str, Any]) -> dict[str, Any]:
        """The facts of a point, with what its judges were asked and cost."""
        accounts = self.judge.take_accounts()
        return {**facts, "judges": accounts} if accounts else facts


def gpu_name() -> str | None:
    """What the driver calls this process's first GPU; None without one."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def samples(outcomes: dict[str, Outcome]) -> list[dict[str, Any]]:
    """One entry per prompt: benchmark, id and what the model wrote."""
    return [
        {"benchmark": name, "id": id_, "output": output}
        for name, outcome in outcomes.items()
        for id_, output in zip(outcome.ids, outcome.outputs, strict=True)
    ]
