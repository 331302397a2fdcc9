"""Whether each expert was fine-tuned from the base that is named: its distance from the base, over a sample of values.

    findings = examine(base, {"lm": lm, "math": math})
    findings.lineages["lm"].verdict                     # fine | doubtful | wrong | unknown
    findings.problems, findings.warnings                # one sentence each

Merging adds up deltas (arXiv 2406.11617, section 2), and against a wrong base a delta is the difference of two
unrelated models: the merge runs to its end and gives noise. Nothing in the headers tells, if the shapes are those of
one architecture; the values do. Weights that were fine-tuned from the base keep nearly its direction; weights that were
trained from another random start are orthogonal to it, so that |e - b| / |b| is about sqrt(2) and the cosine about 0.

Measured on the families of `della.tiny`, per kind of tensor, the ratio |e - b| / |b| and the cosine:

    experts and their own base       full recipe     ratio 0.026 to 0.058, cosine 0.998 and more
                                     minute recipe   ratio 0.053 to 0.235, cosine 0.974 and more
                                     pico recipe     ratio 0.076 to 0.18, cosine 0.984 and more
                                     embeddings      ratio 0: these families freeze them
    experts and a base of another    matrices        ratio 1.35 to 1.50, cosine -0.07 to 0.04
    seed, a wrong one                vectors         ratio 0.03 to 0.25, cosine 0.97 and more: all norms are near 1

Hence: matrices are judged, kind by kind, and vectors (norms, biases) never; a ratio up to FINE is an expert of this
base, and a cosine down to WRONG is not (at equal norms, its delta is then as long as the weights themselves). Between
the two lies long further training: deltas so large that dropping most of them is known to fail (arXiv 2311.03099 finds
it for code models trained on from Llama 2).
"""

import itertools
import json
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from della.checkpoint import Header, Model
from della.errors import some
from della.sample import VECTORS, Distance, Sample, choose_places, distance, kind_of, largest, take

FINE, WRONG = 0.3, 0.5  # the largest ratio of a fine expert, the largest cosine of a wrong one
NEARER = 0.95  # a model at less than this part of the distance is nearer

VERDICTS = ("unknown", "fine", "doubtful", "wrong")
_LEAST = 64  # fewer values than this say nothing about a direction


@dataclass(frozen=True)
class Lineage:
    """What the sample says of one expert.

    verdict: fine, doubtful, wrong, or unknown where there is nothing to compare.
    kinds: kind of tensor -> distance from the base.
    worst: the kind that the verdict comes from.
    unlike: matrices that have nothing to do with the base's, though their kind as a whole has.
    """

    verdict: str = "unknown"
    kinds: Mapping[str, Distance] = field(default_factory=dict)
    worst: str | None = None
    unlike: tuple[str, ...] = ()

    @property
    def whole(self) -> Distance:
        """Over all tensors."""
        return sum(self.kinds.values(), Distance())

    @property
    def matrices(self) -> Distance:
        """Over all tensors but vectors, whose larger values would hide the others."""
        return sum((apart for kind, apart in self.kinds.items() if kind != VECTORS), Distance())


@dataclass(frozen=True)
class Findings:
    """What a sample of a base and its experts says.

    lineages: expert -> what is said of it.
    problems, warnings: one sentence each.
    base_largest: the largest magnitude seen in the base.
    delta_largest: expert -> the largest magnitude seen in its delta.
    """

    lineages: Mapping[str, Lineage]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    base_largest: float
    delta_largest: Mapping[str, float]


def examine(
    base: Model, experts: Mapping[str, Model], names: Iterable[str] | None = None, deltas: bool = True
) -> Findings:
    """Compare every expert with the base, and the experts with each other, over the same sample of values.

    Tensors that only one of two models has, or has in another shape, are left out of their comparison.

    Args:
        base: the base that was named.
        experts: name -> model; only tensors that it holds in full are compared.
        names: of the tensors that a merge changes; None: all.
        deltas: whether deltas are merged; a mean of the weights themselves may well have the base among its experts,
            and needs no base that is theirs: then nothing of it is a problem.
    """
    places = choose_places({name: base.headers[name] for name in (base.headers if names is None else names)})
    ours, broken = take(base, base.headers, places)
    problems = _not_finite(f"the base ({base.label})", broken)
    samples: dict[str, Sample] = {}
    for name in sorted(experts):
        samples[name], broken = take(experts[name], base.headers, places)
        problems += _not_finite(f"expert {name} ({experts[name].label})", broken)
    lineages = {name: judge(ours, sample, base.headers) for name, sample in samples.items()}
    labels = {name: experts[name].label for name in samples}
    warnings: list[str] = []
    for name, lineage in lineages.items():
        where = f"expert {name} ({labels[name]})"
        said = [*_far(where, base.label, lineage), *_odd(where, lineage, deltas)]
        (problems if deltas and lineage.verdict == "wrong" else warnings).extend(said)
    if deltas:
        warnings += _relatives(base, labels, lineages, samples)
    delta_largest = {name: largest(ours, sample) for name, sample in samples.items()}
    return Findings(lineages, tuple(problems), tuple(warnings), largest({}, ours), delta_largest)


def verdict_of(apart: Distance) -> str:
    """fine, doubtful or wrong; unknown where too little is compared, or the base is all zeros."""
    if apart.values < _LEAST or not apart.base:
        return "unknown"
    if apart.cosine <= WRONG:
        return "wrong"
    return "fine" if apart.ratio <= FINE else "doubtful"


def judge(base: Sample, expert: Sample, headers: Mapping[str, Header]) -> Lineage:
    """What the distance of two samples says: the verdict of the worst kind of matrices."""
    kinds: dict[str, Distance] = {}
    tensors = {name: distance(base[name], expert[name]) for name in base if name in expert}
    for name, apart in tensors.items():
        kind = kind_of(name, headers[name].shape)
        kinds[kind] = kinds.get(kind, Distance()) + apart
    verdicts = {kind: verdict_of(apart) for kind, apart in kinds.items() if kind != VECTORS}
    if not set(verdicts.values()) - {"unknown"}:
        return Lineage(kinds=kinds)
    worst = max(verdicts, key=lambda kind: (VERDICTS.index(verdicts[kind]), kinds[kind].ratio))
    unlike = (
        name
        for name, apart in tensors.items()
        if verdicts.get(kind_of(name, headers[name].shape)) in ("fine", "doubtful") and verdict_of(apart) == "wrong"
    )
    return Lineage(verdicts[worst], kinds, worst, tuple(unlike))


def _not_finite(who: str, names: list[str]) -> list[str]:
    holds = "holds" if len(names) == 1 else "hold"
    return [f"{who}: {some(names)} {holds} NaN or Inf; replace the file by a whole one"] if names else []


def _far(expert: str, base: str, lineage: Lineage) -> Iterator[str]:
    if lineage.verdict not in ("doubtful", "wrong") or lineage.worst is None:
        return
    apart = lineage.kinds[lineage.worst]
    far = f"{expert}: its {lineage.worst} weights are {apart.ratio:.2f} of their norm away from the base's ({base})"
    usual = f"{far}, cosine {apart.cosine:.2f}, where fine-tuning stays below {FINE:g} and near 1"
    if lineage.verdict == "wrong":
        yield f"{usual}: it comes from another base; name that as experts.base, or leave this expert out"
    else:
        yield f"{usual}; check that it was tuned from this base, and drop little of a delta as large as that"


def _odd(expert: str, lineage: Lineage, deltas: bool) -> Iterator[str]:
    whole = lineage.whole
    if deltas and whole.values and not whole.apart:
        yield f"{expert}: equals the base in all {whole.values:,} values looked at and adds nothing; check the folder"
    if lineage.unlike:
        yield f"{expert}: not the base's at all (cosine below {WRONG:g}) are {some(lineage.unlike)}; check the folder"


def _relatives(
    base: Model, labels: Mapping[str, str], lineages: Mapping[str, Lineage], samples: Mapping[str, Sample]
) -> Iterator[str]:
    """Experts that are equal, and the expert that is nearer than the base to most of the others, if one is.

    Of experts of another base it is said that they are; that those are nearer to each other says nothing more.
    """
    nearer: dict[str, list[str]] = {}
    for one, other in itertools.combinations(sorted(samples), 2):
        if samples[one].keys() != samples[other].keys() or not lineages[one].whole.apart:
            continue
        apart = judge(samples[one], samples[other], base.headers)
        if not apart.whole.apart:
            yield f"experts {one} and {other} are equal in all {apart.whole.values:,} values looked at; leave one out"
        for candidate, expert in ((one, other), (other, one)):
            near, far = apart.matrices.apart, lineages[expert].matrices
            if lineages[expert].verdict != "wrong" and far.base and 0 < near < NEARER**2 * far.apart:
                text = f"{expert} ({math.sqrt(near / far.base):.3f} of its norm away, the base {far.ratio:.3f})"
                nearer.setdefault(candidate, []).append(text)
    if nearer:
        best = max(sorted(nearer), key=lambda candidate: (len(nearer[candidate]), -lineages[candidate].matrices.ratio))
        yield (
            f"expert {best} ({labels[best]}) is nearer than the base ({base.label}) to {', '.join(nearer[best])}; "
            f"if it is their base, write experts.base={labels[best]} and leave it out of the experts"
        )


def adapter_warnings(expert: str, folder: Path, base: Model) -> list[str]:
    """What an adapter's configuration says about its base: values cannot tell, as an adapter holds a delta alone.

    Its base_model_name_or_path is a folder or a hub name, and is compared by its last part with the base's folder and
    with the name in the base's config.json.
    """
    try:
        named = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8")).get("base_model_name_or_path")
    except (OSError, ValueError, AttributeError):
        named = None
    if not isinstance(named, str) or not named:
        return [
            f"expert {expert} ({folder}): its adapter_config.json names no base; check that {base.label} is its base"
        ]
    ours = {str(base.config.get("_name_or_path") or ""), base.label, os.path.realpath(base.label)}
    parts = {part.lower() for name in ours for part in re.split(r"/|--", name)}
    if named.rstrip("/").rpartition("/")[2].lower() in parts - {""}:
        return []
    return [f"expert {expert} ({folder}): was trained for the base {named}; check that this is {base.label}"]
