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
from numba.core import caching

from della.cache import cache_folder

_SOURCES = [numba.__version__.encode(), *(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))]
_DIGEST = hashlib.sha256(b"\0".join(_SOURCES)).hexdigest()[:16]


class CompiledFiles(caching.IndexDataCacheFile):
    """One file for each compiled version of a function, named by all that tells it from others.

    numba's own class numbers them and keeps an index: two processes that compile at once give one number to two
    versions (of a closure, or for other types), and the next one to look runs the wrong code without a word.
    """

    def save(self, key, data):
        """Keeps what was compiled for `key`: types, processor, hashes of the function's code and of its closure."""
        self._save_data(self._file(key), data)

    def load(self, key):
        """What was kept for it; None if nothing was."""
        try:
            return self._load_data(self._file(key))
        except OSError:
            return None

    def _file(self, key) -> str:
        return self._data_name_pattern.format(
            number=int(hashlib.sha256(f"{_DIGEST} {key!r}".encode()).hexdigest()[:16], 16)
        )


caching.IndexDataCacheFile = CompiledFiles  # before any kernel is decorated


def _remember() -> bool:
    """Says where compiled code is kept; whether some is there already."""
    folder = cache_folder()
    if folder is None or "NUMBA_CACHE_DIR" in os.environ:
        return True
    numba.config.CACHE_DIR = str(folder / f"kernels-{_DIGEST}")
    return any((folder / f"kernels-{_DIGEST}").rglob("*.nbc"))


IS_COMPILED = _remember()
