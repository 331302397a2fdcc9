"""Say what a merge would do, or what a sweep would cost, and everything that it would fail at, without running it.

    python -m scripts.plan experts.base=DIR experts.models.lm=DIR experts.models.math=DIR method=della out=DIR
    python -m scripts.plan --mergekit config.yml
    python -m scripts.plan sweep=main_table experts=wizard_13b gpu=a100_80gb out=plan.json
    python -m scripts.plan sweep=main_table experts=tiny compare=true

The arguments of a merge are those of scripts.merge; out may be left out. With sweep= they are those of scripts.run and
what `python -m scripts.plan sweep=NAME --help` lists. Exit code 0: it would go. Exit code 2: it would not; every
problem is a line `error: ...`, and what to look at first a line `warning: ...`.
"""

import json
import sys
from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from della.errors import InputError
from della.experts import VOCAB
from della.files import write_atomically
from della.mergekit import read_mergekit
from della.methods import METHODS
from della.plan import Plan, make_plan
from della.policy import Policy
from della.tiny.recipe import RECIPES
from eval.errors import InputError as EvalInputError
from eval.tasks.prompts import prompt_family
from scripts.data import data_folder
from scripts.door import door, leave
from scripts.fetching.sources import places_of
from scripts.fields import file_to_write
from scripts.mergekit import refuse_beside
from scripts.schema import PlanConfig, SweepPlanConfig


def main() -> None:
    """A sweep's plan where a sweep is named, else a merge's."""
    asked = sys.argv[1:]
    if any(argument.startswith("sweep=") for argument in asked):
        if {"-m", "--multirun"} & set(asked):
            leave(2, "error: -m: a plan runs nothing; leave it out, and write workers=N for a number of workers")
        sweep()
    else:
        merge()


@door("plan", typed=False)
def merge(config: DictConfig) -> None:
    given, problems = read(config)
    plan = plan_of(given, problems)
    print(plan.text(), flush=True)
    told(plan.warnings, plan.problems)
    print("\nno problem found: python -m scripts.merge with the same arguments merges them")


@door("plan_sweep")
def sweep(config: SweepPlanConfig) -> None:
    from scripts.planning.compare import compare, text
    from scripts.planning.page import page
    from scripts.planning.sweep import plan_sweep

    file_to_write("out", config.out)
    facts = compare(config) if config.compare else plan_sweep(config)
    print(text(facts) if config.compare else page(facts), flush=True)
    if config.out is not None:
        write_atomically(Path(config.out), (json.dumps(facts, indent=1, sort_keys=True) + "\n").encode())
    told(facts.get("warnings", ()), facts.get("problems", ()))


def told(warnings: Iterable[str], problems: Iterable[str]) -> None:
    """Says warnings and problems, and ends with exit code 2 where there are any of these."""
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)
    problems = list(problems)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if problems:
        sys.exit(2)


def read(config: DictConfig) -> tuple[Any, list[str]]:
    """The fields of `PlanConfig`, converted one by one so that a wrong one does not hide the others, and the problems.

    A method with wrong options is None; another group with a wrong value holds its values unchecked.
    """
    parts: dict[str, Any] = {}
    problems = []
    for name in (item.name for item in fields(PlanConfig)):
        node = config[name]
        try:
            parts[name] = OmegaConf.to_object(node) if OmegaConf.is_config(node) else node
        except InputError as error:
            problems.append(str(error))
            unchecked = OmegaConf.to_container(node, resolve=True)
            parts[name] = None if name == "method" else SimpleNamespace(**unchecked)  # type: ignore[arg-type]
    try:
        PlanConfig(**parts)
    except InputError as error:
        problems.append(str(error))
    return SimpleNamespace(**parts), problems


def plan_of(config: Any, problems: list[str]) -> Plan:
    """The plan of the merge that is asked for."""
    problems = list(problems)
    common: dict[str, Any] = {"seed": config.seed, "out": config.out, "threads": config.threads, "timed": True}
    if config.mergekit is not None:
        try:
            refuse_beside(sys.argv[1:])
            recipe = read_mergekit(Path(config.mergekit), config.rescale or "per_parameter")
        except InputError as error:
            return Plan((*problems, str(error)), (), {"models": []})
        settings: dict[str, Any] = {"dtype": recipe.output_dtype, "vocab": recipe.vocab, "tokenizer": recipe.tokenizer}
        plan = make_plan(recipe.base, recipe.models, recipe.policy, known=problems, **common, **settings)
        return replace(plan, warnings=(*(f"{config.mergekit}: {note}" for note in recipe.notes), *plan.warnings))
    base, models = folders(config, problems)
    policy = policy_of(config, problems)
    if policy is not None and policy.method.by_activations:
        problems += missing_texts(config, base, models)
    settings = {
        "dtype": config.dtype or config.experts.merge_dtype,
        "vocab": config.experts.vocab if config.experts.vocab in VOCAB else VOCAB[0],  # told by the schema
        "tokenizer": config.tokenizer,
    }
    return make_plan(base, models, policy, known=problems, **common, **settings)


def missing_texts(config: Any, base: str | None, models: dict[str, str]) -> list[str]:
    """What is wrong with the texts that the experts' input activations would be measured on."""
    from scripts.calibrating.samples import find_problems

    experts, made = config.experts, Path(base).parent / "data" if base and config.experts.recipe else None
    try:
        data = made or data_folder(experts.data)
        prompts = prompt_family(experts.prompts, experts.protocol)
    except (InputError, EvalInputError) as error:
        return [str(error)]
    return find_problems(config.activations, list(models), experts.recipe, data, prompts)


def policy_of(config: Any, problems: list[str]) -> Policy | None:
    """How tensors are merged, or None; adds what is wrong with it to the problems."""
    if config.method is None:
        return None
    if config.method.name not in METHODS:
        problems.append(f"method={config.method.name} merges nothing: write one of {', '.join(METHODS)}")
        return None
    try:
        return Policy(config.method, config.weights, tuple(config.include), tuple(config.exclude))
    except InputError as error:
        problems.append(str(error))
        return Policy(config.method)


def folders(config: Any, problems: list[str]) -> tuple[str | None, dict[str, str]]:
    """The folders of the base and of the experts to merge, by name; adds what is wrong with them to the problems."""
    experts = config.experts
    base, models = experts.base, dict(experts.models)
    if experts.recipe:
        base, models = _made(config, problems)
    else:
        try:
            places = places_of(experts, Path(config.paths.work))
            base, models = str(places[0].folder), {place.name: str(place.folder) for place in places[1:]}
        except InputError as error:
            problems.append(str(error))
    wanted = models if experts.merge is None else experts.merge
    for name in wanted:
        if name not in models:
            known = ", ".join(models) or "none; name it as experts.models.NAME=DIR"
            problems.append(f"there is no expert {name!r} to merge: the experts are {known}")
    return base or None, {name: models[name] for name in wanted if name in models}


def _made(config: Any, problems: list[str]) -> tuple[str | None, dict[str, str]]:
    """The folders of a family by a recipe, which is looked up and not made."""
    experts = config.experts
    if experts.recipe not in RECIPES:
        problems.append(f"experts.recipe={experts.recipe}: write one of {', '.join(RECIPES)}, or null for folders")
        return None, {}
    from della.tiny.family import (
        family_folder,
        is_whole,
    )  # imports transformers: seconds that folders need not wait for
    from della.tiny.recipe import EXPERTS

    folder = family_folder(Path(config.paths.work) / "experts", experts.seed, RECIPES[experts.recipe])
    if not is_whole(folder):
        problems.append(f"{folder}: not made yet; run python -m scripts.experts with the same experts= first")
        return None, {}
    return str(folder / "base"), {name: str(folder / name) for name in EXPERTS}


if __name__ == "__main__":
    main()
