"""Merge the models named into a folder that transformers and vLLM open.

    python -m scripts.merge experts.base=DIR experts.models.lm=DIR experts.models.math=DIR method=della \
        method.drop_rate=0.5 method.epsilon=0.2 method.lambda_=1.0 seed=1 out=DIR
    python -m scripts.merge --mergekit config.yml seed=1 out=DIR

Exactly the experts named are merged; what is not written has the default that `--help` shows. A merge that was killed
goes on when the same command is given again.
"""

import math
import sys
from pathlib import Path
from typing import Any

from tqdm import tqdm

from della.errors import InputError
from della.methods import METHODS, describe
from della.policy import Policy
from scripts.door import door
from scripts.family import open_family
from scripts.mergekit import Opened, open_mergekit, refuse_beside
from scripts.schema import MergeConfig

LONG = 6e9  # expert parameters from which on everything is checked first: half a minute of merging on two cores


@door("merge")
def main(config: MergeConfig) -> None:
    if config.mergekit is not None:
        refuse_beside(sys.argv[1:])
        opened = open_mergekit(Path(config.mergekit), config.seed, config.rescale)
    else:
        opened = open_named(config)
    base, experts, policy, settings = opened.base, opened.experts, opened.policy, opened.settings
    check_device(config.device)
    parameters = sum(math.prod(header.shape) for header in base.headers.values())
    if config.check and parameters * len(experts) > LONG:
        from della.plan import check_before, make_plan

        folders = {name: model.folder for name, model in experts.items()}
        choices = {name: settings[name] for name in ("dtype", "vocab", "tokenizer")}
        plan = make_plan(
            base.folder, folders, policy, seed=config.seed, out=config.out, threads=config.threads, **choices
        )
        for warning in plan.warnings:
            say(f"warning: {warning}")
        try:
            check_before(plan)
        except InputError as error:
            raise InputError(f"{error} (if it is right all the same, write check=false)") from None
    from della.kernels import IS_COMPILED  # numba takes a second to import: mistakes are answered without it
    from della.output import merge_to_folder

    if not IS_COMPILED and sys.stderr.isatty():
        say("compiling the kernels for this machine: about half a minute, once")
    with tqdm(total=parameters, desc="merging", unit=" parameters", unit_scale=True, disable=None, leave=False) as bar:
        merge_to_folder(
            base,
            experts,
            policy,
            config.seed,
            Path(config.out),
            max_shard_bytes=int(config.max_shard_gb * 1e9),
            threads=config.threads,
            device=config.device,
            progress=bar.update,
            told=say,
            **settings,
        )
    print(f"merged {', '.join(sorted(experts))} with {policy.method.name} into {config.out}")


def open_named(config: MergeConfig) -> Opened:
    """The merge that the options name."""
    method = config.method.name
    if method not in METHODS:
        raise InputError(f"method=unmerged merges nothing: write one of {', '.join(METHODS)}")
    family = open_family(config.experts, config.experts.seed, Path(config.paths.work))
    names = sorted(family.models if config.experts.merge is None else config.experts.merge)
    if not names:
        raise InputError("no expert to merge: name at least one, as experts.models.math=DIR")
    family.check(names)
    policy = Policy(config.method, dict(config.weights), tuple(config.include), tuple(config.exclude))
    described: dict[str, Any] = {
        "experts": {
            "base": str(family.base.folder),
            "models": {name: str(family.models[name].folder) for name in names},
        },
        "method": describe(config.method),
        "weights": dict(config.weights),
        "include": list(config.include),
        "exclude": list(config.exclude),
        "seed": config.seed if config.method.is_random else None,
        "vocab": config.experts.vocab,
        "tokenizer": config.tokenizer,
        "dtype": config.dtype or config.experts.merge_dtype,
    }
    settings: dict[str, Any] = {
        "dtype": config.dtype or config.experts.merge_dtype,
        "vocab": config.experts.vocab,
        "tokenizer": config.tokenizer,
        "config": described,
    }
    if config.method.by_activations:
        from scripts.calibrating.measured import Measured  # what only such a merge needs

        measured = Measured(config.activations, family, config.experts, Path(config.paths.work))
        described["activations"] = measured.hashes(names)
        settings["activations"] = measured.of(names)
    return Opened(family.base, {name: family.models[name] for name in names}, policy, settings)


def check_device(device: str) -> None:
    """Raises InputError for cuda without a GPU that torch can use."""
    if device != "cpu":
        import torch

        if not torch.cuda.is_available():
            raise InputError("device=cuda: torch finds no GPU here; write device=cpu")


def say(line: str) -> None:
    """A line for the user, above the progress bar."""
    tqdm.write(line, file=sys.stderr)


if __name__ == "__main__":
    main()
