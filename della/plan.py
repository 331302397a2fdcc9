"""Whether a merge would go, said in seconds and all at once: from the file headers and a small sample of values.

    plan = make_plan("models/base", {"lm": "models/lm", "math": "models/math"}, method, seed=1, out="merged")
    plan.problems, plan.warnings        # one sentence each; a merge goes when there are no problems
    print(plan.text())
    check_before(plan)                  # raises one InputError with all problems

A problem never hides another: folders are opened one by one, and what cannot be said without one that is missing is
left out. Reads at most a million values of each model (della/sample.py) and imports no torch.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from della.checkpoint import Checkpoint, Model
from della.errors import InputError
from della.experts import Family, check_family, find_problems
from della.folder import refuse_occupied
from della.headers import FLOATS, OUTPUTS
from della.lineage import adapter_warnings, examine
from della.lora import open_expert
from della.methods import METHODS
from della.options import Options
from della.pace import measure_pace
from della.plan_facts import counted, lineage_facts, memory_bound, model_facts, weight_files, written_bytes
from della.plan_text import size, write_plan
from della.policy import Policy
from della.room import available_memory, existing_parent, free_disk, uncached
from della.tokenizer import find_tokenizer_problems

FLOAT16_MAX = 65504.0


@dataclass(frozen=True)
class Plan:
    """What a merge would do and need.

    problems: why it would fail, one sentence each. warnings: what to look at first.
    facts: the numbers behind, as JSON has them: method, models, tensors, lineage, disk, memory, seconds.
    """

    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    facts: Mapping[str, Any]

    def text(self) -> str:
        """Tables for a terminal, without the problems and the warnings."""
        return write_plan(self.facts)


def check_before(plan: Plan) -> None:
    """Raises one InputError with all problems of a plan, if it has any."""
    if plan.problems:
        raise InputError("; ".join(plan.problems))


def make_plan(
    base: Path | str | None,
    experts: Mapping[str, Path | str],
    method: Options | Policy | None,
    *,
    seed: int | None = None,
    dtype: str | None = None,
    vocab: str = "error",
    tokenizer: str = "base",
    out: Path | str | None = None,
    threads: int | None = None,
    timed: bool = False,
    known: Iterable[str] = (),
) -> Plan:
    """Look at everything that a merge needs.

    Args:
        base: folder of the base; None where that it was not named is one of the known problems.
        experts: name -> folder, of a model or an adapter.
        method: how they would be merged; None where its options are one of the known problems.
        seed, dtype, vocab, tokenizer, out, threads: as `merge_to_folder` takes them.
        timed: also measure how long it takes, which itself takes a second.
        known: problems found before, told with the others.
    """
    survey = _Survey(known)
    policy = Policy.of(method) if method is not None else None
    ours = survey.open("the base", "base", lambda: Checkpoint(base)) if base else None
    models = {
        name: survey.open(f"expert {name}", name, partial(open_expert, path, ours))
        for name, path in sorted(experts.items())
    }
    opened = {name: model for name, model in models.items() if model is not None}
    survey.check_arguments(experts, policy, seed, dtype)
    if ours is None:
        survey.check_out(out)
        return survey.plan()
    if len(opened) == len(models):
        survey.problems += find_tokenizer_problems(tokenizer, ours, opened, vocab)
    family = survey.match(ours, opened, vocab)
    survey.check_policy(policy, ours, family, opened)
    survey.compare(ours, opened, family, policy, dtype)
    survey.check_out(out, written_bytes(ours, family, dtype))
    survey.check_memory(memory_bound(ours, family, policy, opened, threads or len(os.sched_getaffinity(0))))
    survey.facts["uncached"] = uncached(file for model in (ours, *opened.values()) for file in weight_files(model))
    if timed and method is not None and family.merged and not survey.problems:
        pace = measure_pace(method, ours.headers, family.merged, sorted(opened), threads, dtype)
        survey.facts["seconds"] = pace * survey.facts["tensors"]["merged"]["parameters"]
    return survey.plan()


class _Survey:
    """Collects problems, warnings and facts; no method raises InputError."""

    def __init__(self, known: Iterable[str]):
        self.problems: list[str] = list(known)
        self.warnings: list[str] = []
        self.facts: dict[str, Any] = {"models": []}

    def plan(self) -> Plan:
        return Plan(tuple(dict.fromkeys(self.problems)), tuple(dict.fromkeys(self.warnings)), self.facts)

    def tell(self, check: Callable[[], object]) -> None:
        """A check that raises InputError, as one problem."""
        try:
            check()
        except InputError as error:
            self.problems.append(str(error))

    def open(self, who: str, name: str, opened: Callable[[], Any]) -> Any:
        """A model or an adapter, or None where it cannot be opened."""
        try:
            model = opened()
        except InputError as error:
            self.problems.append(f"{who}: {error}")
            return None
        except OSError as error:
            self.problems.append(f"{who}: {error.filename}: {error.strerror}; name a folder that you may read")
            return None
        self.facts["models"].append(model_facts(name, model))
        return model

    def check_arguments(
        self, experts: Mapping[str, Any], policy: Policy | None, seed: int | None, dtype: str | None
    ) -> None:
        if not experts:
            self.problems.append("no expert to merge is named; write experts.models.NAME=FOLDER for each")
        if policy is not None:
            self.facts["method"] = policy.method.name
            if policy.method.is_random and (isinstance(seed, bool) or not isinstance(seed, int)):
                name = policy.method.name
                self.problems.append(
                    f"method {name} drops at random and seed is {seed!r}; write seed=1 or another integer"
                )
        if dtype is not None and dtype not in OUTPUTS:
            self.problems.append(f"dtype is {dtype!r}; write one of {', '.join(OUTPUTS)}")

    def match(self, base: Model, experts: Mapping[str, Model], vocab: str) -> Family:
        """What is merged; where the experts do not fit, what would be if they did."""
        try:
            family = check_family(base, experts, vocab) if experts else Family((), ())
        except InputError:
            self.problems += find_problems(base, experts, vocab)
            family = Family((), ())
        if not family.merged:
            floats = sorted(name for name, header in base.headers.items() if header.dtype in FLOATS)
            family = Family(tuple(floats), tuple(sorted(set(base.headers) - set(floats))))
        self.facts["tensors"] = {
            "merged": counted(base, family.merged),
            "passed": counted(base, family.passed),
            "added": {name: len(rows) for name, rows in family.added.items()},
        }
        return family

    def check_policy(self, policy: Policy | None, base: Model, family: Family, experts: Mapping[str, Model]) -> None:
        """Weights and patterns that fit nothing, options out of bounds for some tensor; counts what is not pruned."""
        if policy is None:
            return
        self.tell(lambda: policy.check(family.merged, sorted(experts)))
        if policy.overrides:
            for name in family.merged:
                for expert in experts:
                    self.tell(lambda name=name, expert=expert: policy.options(name, expert))  # type: ignore[misc]
        unpruned = [name for name in family.merged if not policy.prunes(name)]
        self.facts["tensors"]["unpruned"] = {**counted(base, unpruned), "names": unpruned}

    def compare(
        self, base: Model, experts: Mapping[str, Model], family: Family, policy: Policy | None, dtype: str | None
    ) -> None:
        """The lineage of every expert, and whether what was seen fits into float16."""
        try:
            deltas = policy is None or not METHODS[policy.method.name].absolute
            found = examine(base, experts, family.merged, deltas)
        except (InputError, OSError) as error:
            self.problems.append(str(error))
            return
        self.problems += found.problems
        self.warnings += found.warnings
        for name, model in experts.items():
            if getattr(model, "low_rank", None) is not None:
                self.warnings += adapter_warnings(name, Path(model.label), base)
        self.facts["lineage"] = {name: lineage_facts(lineage) for name, lineage in found.lineages.items()}
        dtypes = {header.dtype for header in base.headers.values()}
        if dtype == "float16" or (dtype is None and "float16" in dtypes):
            self._check_range(found.base_largest, max(found.delta_largest.values(), default=0.0), policy, experts)

    def _check_range(self, base: float, delta: float, policy: Policy | None, experts: Iterable[str]) -> None:
        if base > FLOAT16_MAX:
            self.problems.append(
                f"the base holds {base:.3g}, and float16 ends at {FLOAT16_MAX:g}; write dtype=bfloat16 or dtype=float32"
            )
        elif policy is not None:
            dropped = getattr(policy.method, "drop_rate", 0.0) + getattr(policy.method, "epsilon", 0.0) / 2
            kept = 1 - dropped if getattr(policy.method, "rescale", "none") != "none" else 1.0
            terms = sum(abs(policy.weights.get(name, 1.0)) for name in experts) if policy.method.fuse == "sum" else 1.0
            most = base + abs(policy.method.lambda_) * delta / kept * terms
            if most > FLOAT16_MAX:
                self.warnings.append(
                    f"merged values may reach {most:.3g}, and float16 ends at {FLOAT16_MAX:g}; dtype=bfloat16 has room"
                )

    def check_out(self, out: Path | str | None, needed: int = 0) -> None:
        """Whether the folder can be made, and whether its file system has room for it and its unfinished copy."""
        if out is None:
            self.facts["disk"] = {"needed": needed}
            return
        out, parent = Path(out), existing_parent(Path(out))
        self.tell(lambda: refuse_occupied(out))
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            self.problems.append(f"{out}: cannot be created in {parent}; write a path you may write to")
            return
        free = free_disk(out)
        self.facts["disk"] = {"needed": needed, "free": free, "where": str(parent)}
        if needed > free:
            self.problems.append(
                f"{out}: needs {size(needed)} where {size(free)} are free; free some, or write out= on another disk"
            )

    def check_memory(self, needed: int) -> None:
        available = available_memory()
        self.facts["memory"] = {"needed": needed, "available": available}
        if available is not None and needed > available:
            self.problems.append(
                f"the merge needs up to {size(needed)} of memory where {size(available)} are available; write fewer "
                "threads= or method.rank_over=row, or use a larger machine"
            )
