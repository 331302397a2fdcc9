"""Measure the input activations of a family's experts, which rankings by WANDA's scores need.

    python -m scripts.activations experts=tiny
    python -m scripts.activations experts=wizard_13b activations.data.lm=FILE.jsonl
    python -m scripts.activations experts.base=DIR experts.models.math=DIR activations.data.math=gsm8k experts.data=DIR

Merges with rank_by=wanda compute what is missing themselves; this does it beforehand. What is there is not computed
again, and a stopped command goes on where it was. (DELLA, arXiv 2406.11617, Table 5.)
"""

from pathlib import Path

from scripts.calibrating.measured import Measured
from scripts.door import door
from scripts.family import open_family
from scripts.schema import ActivationsConfig


@door("activations")
def main(config: ActivationsConfig) -> None:
    work = Path(config.paths.work)
    for seed in config.seeds or [config.experts.seed]:
        family = open_family(config.experts, seed, work)
        names = sorted(family.models if config.experts.merge is None else config.experts.merge)
        family.check(names)
        measured = Measured(config.activations, family, config.experts, work)
        measured.hashes(names)  # what is wrong with the texts of any expert is said before the first is measured
        for name in names:
            held = measured.of([name])[name]
            place = config.activations.files.get(name) or measured.path(name)
            print(f"{name}: {len(held.norms)} matrices, {held.facts.get('tokens', '?')} tokens, {place}")


if __name__ == "__main__":
    main()
