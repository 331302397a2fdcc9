"""Merge the models named into a folder that transformers and vLLM open.

    python -m scripts.merge experts.base=DIR experts.models.lm=DIR experts.models.math=DIR method=della \
        method.drop_rate=0.5 method.epsilon=0.2 method.lambda_=1.0 seed=1 out=DIR

Exactly the experts named are merged; what is not written has the default that `--help` shows.
"""

from dataclasses import asdict
from pathlib import Path

from della.errors import InputError
from della.merge import merge_to_folder
from della.methods import METHODS
from scripts.door import door
from scripts.family import open_family
from scripts.schema import MergeConfig

DTYPES = ("float16", "bfloat16", "float32")


@door("merge")
def main(config: MergeConfig) -> None:
    method = config.method.name
    if method not in METHODS:
        raise InputError(f"method=unmerged merges nothing: write one of {', '.join(METHODS)}")
    if config.dtype not in (None, *DTYPES):
        raise InputError(f"dtype={config.dtype}: write one of {', '.join(DTYPES)}, or leave it out for the base's")
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
    out = Path(config.out)
    merge_to_folder(
        family.base,
        {name: family.models[name] for name in names},
        config.method,
        config.seed,
        out,
        dtype=config.dtype,
        vocab=config.experts.vocab,
        config=described,
        max_shard_bytes=int(config.max_shard_gb * 1e9),
    )
    print(f"merged {', '.join(names)} with {method} into {out}")


if __name__ == "__main__":
    main()
