"""The order in which all trials of a search see the prompts, and where they pause.

    order = interleaved({"gsm8k": 300, "mbpp": 300}, seed=0)
    for part in parts(order, looks=20):
        part["gsm8k"]                              # documents to ask next, as numbers in the benchmark's own order

Each benchmark's prompts are shuffled and the benchmarks interleaved evenly, so that after any number of prompts each
has seen the same share of its own: the mean over benchmarks is estimated without bias from the beginning.
"""

import itertools
from collections.abc import Mapping, Sequence

from della.statistics import generator

Order = list[tuple[str, int]]


def interleaved(sizes: Mapping[str, int], seed: int) -> Order:
    """Every (benchmark, document) once; of any prefix each benchmark holds its share, to within one prompt.

    sizes: benchmark -> number of documents. A benchmark's own order depends on the seed, its name and its size alone.
    """
    placed = []
    for name, size in sizes.items():
        shuffled = generator(f"search prompts {seed} {name} {size}").permutation(size)
        placed += [((rank + 0.5) / size, name, int(document)) for rank, document in enumerate(shuffled)]
    return [(name, document) for _, name, document in sorted(placed)]


def by_benchmark(order: Sequence[tuple[str, int]]) -> dict[str, list[int]]:
    """Benchmark -> its documents, in their order."""
    out: dict[str, list[int]] = {}
    for name, document in order:
        out.setdefault(name, []).append(document)
    return out


def parts(order: Order, looks: int) -> list[dict[str, list[int]]]:
    """The order cut into `looks` parts of equal size (to within one prompt), none of them empty."""
    count = min(looks, len(order))
    ends = [round(number * len(order) / count) for number in range(count + 1)]
    return [by_benchmark(order[start:end]) for start, end in itertools.pairwise(ends)]
