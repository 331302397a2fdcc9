"""Make a family of experts, fetch one from the hub, or check that folders fit together.

    python -m scripts.experts experts=tiny seeds=[0,1,2]
    python -m scripts.experts experts=wizard_13b                          # into .work/experts/wizard_13b
    python -m scripts.experts experts=wizard_13b experts.path=/data/wizard_13b
    python -m scripts.experts experts=folders experts.base=DIR experts.models.math=DIR

A family that is already there is only checked. Models from the hub are fetched at the commits that the family's file
names, each file compared with the hub's hash and recorded in FAMILY.lock.json beside the family's folder; a command
that was stopped goes on where it was. Where the hub cannot be reached it says what to put where (exit code 2).
"""

from pathlib import Path

from scripts.door import door
from scripts.experts_settings import ExpertsConfig
from scripts.family import open_family
from scripts.fetching.fetch import fetch_family


@door("experts")
def main(config: ExpertsConfig) -> None:
    work = Path(config.paths.work)
    if config.experts.hub and not config.experts.recipe:
        fetch_family(config.experts, work, config.pin, print)
    for seed in config.seeds or [config.experts.seed]:
        family = open_family(config.experts, seed, work)
        made = "" if family.seed is None else f" seed {seed}"
        print(f"{family.name}{made}: base {family.base.folder}, experts {', '.join(family.models)}")
        if family.seed is None:
            break  # folders are the same whatever the seed


if __name__ == "__main__":
    main()
