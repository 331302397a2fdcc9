"""Merge the models named into a folder that transformers and vLLM open.

    python -m scripts.merge experts.base=DIR experts.models.lm=DIR experts.models.math=DIR method=della \
        method.drop_rate=0.5 method.epsilon=0.2 method.lambda_=1.0 seed=1 out=DIR

Exactly the experts named are merged; what is not written has the default that `--help` shows.
"""

import math
from dataclasses import asdict
from pathlib import Path

from tqdm import tqdm

from della.errors import InputError
from della.methods import METHODS
from della.output import merge_to_folder
from scripts.door import door
from scripts.family import open_family
from scripts.schema import MergeConfig


@door("merge")
def main(config: MergeConfig) -> None:
    method = config.method.name
    if method not in METHODS:
        raise InputError(f"method=unmerged merges nothing: write one of {', '.join(METHODS)}")
    family = open_family(config.experts, config.experts.seed, Path(config.paths.work))
    names = sorted(family.models if config.experts.merge is None else config.experts.merge)
    if not names:
        raise InputError("no expert to merge: name at least one, as experts.models.math=DIR")
    family.check(names)
    described = {
        "experts": {
            "base": str(family.base.folder),
            "models": {name: str(family.models[name].folder) for name in names},
        },
        "method": {"name": method, **asdict(config.method)},
        "seed": config.seed if config.method.is_random else None,
        "vocab": config.experts.vocab,
        "dtype": config.dtype,
    }
    parameters = sum(math.prod(header.shape) for header in family.base.headers.values())
    with tqdm(total=parameters, desc="merging", unit=" parameters", unit_scale=True, disable=None, leave=False) as bar:
        merge_to_folder(
            family.base,
            {name: family.models[name] for name in names},
            config.method,
            config.seed,
            Path(config.out),
            dtype=config.dtype,
            vocab=config.experts.vocab,
            config=described,
            max_shard_bytes=int(config.max_shard_gb * 1e9),
            progress=bar.update,
        )
    print(f"merged {', '.join(names)} with {method} into {config.out}")


if __name__ == "__main__":
    main()
