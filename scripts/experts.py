"""Make a family of experts, or check that folders fit together.

    python -m scripts.experts experts=tiny seeds=[0,1,2]
    python -m scripts.experts experts=folders experts.base=DIR experts.models.math=DIR

A family that is already there is only checked.
"""

from pathlib import Path

from scripts.door import door
from scripts.family import open_family
from scripts.schema import ExpertsConfig


@door("experts")
def main(config: ExpertsConfig) -> None:
    for seed in config.seeds or [config.experts.seed]:
        family = open_family(config.experts, seed, Path(config.paths.work))
        print(f"{family.name} seed {seed}: base {family.base.folder}, experts {', '.join(family.models)}")


if __name__ == "__main__":
    main()
