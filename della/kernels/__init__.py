"""The CPU kernels, in numba: what `della.reference` says in torch, a block at a time and bit for bit the same.

    bits      stored values <-> float32, at memory addresses
    philox    random words
    order     row ranks by counting
    rankings  what the paper's ablations rank by
    prune     deltas, words, orders and pruned deltas of a group of elements
    fuse      elect and fuse
    block     all of that for one block, for several points of a sweep at once
    passes    what is counted or summed over a whole delta first: TIES's cut, L1 norms; factors of adapters
    whole     ranks over a whole tensor

No fused multiply-add, no reassociation (numba's defaults without fastmath), no global state. Compiled code is kept in
the cache folder, under a name that changes with these sources: numba alone would miss a change in a called module.
"""

import hashlib
import os
from pathlib import Path

import numba

from della.cache import cache_folder


def _remember() -> bool:
    """Says where compiled code is kept; whether some is there already."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:16]
    folder = cache_folder()
    if folder is None or "NUMBA_CACHE_DIR" in os.environ:
        return True
    numba.config.CACHE_DIR = str(folder / f"kernels-{digest}")
    return any((folder / f"kernels-{digest}").rglob("*.nbc"))


IS_COMPILED = _remember()
