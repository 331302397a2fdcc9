"""What tells that a merge which was stopped is the one that is asked for again, and that its inputs stayed the same."""

import hashlib
import json
import os
from collections.abc import Mapping
from typing import Any

from della.checkpoint import Checkpoint
from della.engine.job import Merge
from della.errors import InputError
from della.hashes import stamp
from della.lora import Adapter
from della.merge import MERGE_VERSION
from della.methods import describe
from della.policy import Policy
from della.shards import Shard

Experts = Mapping[str, "Checkpoint | Adapter"]


def merge_key(job: Merge, policy: Policy, inputs: Mapping[str, list[Any]], shards: list[Shard]) -> str:
    """Names everything that the bytes of the shards depend on, without reading a weight."""
    measured = {expert: held.sha256 for expert, held in sorted(job.activations.items())}
    described = {
        "merge": MERGE_VERSION,
        "seed": job.seed,
        "tensors": {
            name: [[describe(policy.options(name, e)), policy.weight(name, e)] for e in job.experts]
            for name in job.family.merged
        },
        "added": job.family.added,
        "shards": [[shard.file, shard.prefix.hex()] for shard in shards],
        "inputs": inputs,
        **({"activations": measured} if measured else {}),
    }
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()


def stamps(base: Checkpoint, experts: Experts) -> dict[str, list[Any]]:
    """What tells that an input file is still the same, without reading it."""
    models = {"base": base, **experts}
    return {
        name: [[os.path.realpath(model.folder / file), *stamp(model.folder / file)] for file in model.files()]
        for name, model in models.items()
    }


def check_unchanged(before: Mapping[str, list[Any]], base: Checkpoint, experts: Experts) -> None:
    """Raises InputError where an input file is not what it was."""
    now = stamps(base, experts)
    changed = [name for name in before if before[name] != now[name]]
    if changed:
        raise InputError(f"{', '.join(changed)}: changed on disk during the merge; run the command again")
