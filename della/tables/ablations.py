"""The paper's comparisons beyond Table 1: which runs each is made of, what is subtracted from what, what was printed.

    for ablation in told(runs):         # those that a set of records carries
        ablation.name, ablation.variants, ablation.pairs

DELLA, arXiv 2406.11617v1: Tables 2, 3, 4, 5 and 7, Figures 4, 5 and 6. One row of ABLATIONS each; the sweep that fills
it has the same name in configs/sweep/ (drop_rates: drop_rate.yaml, lambdas: lambda.yaml).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from della.methods import METHODS
from della.outcomes import FRAME, MERGES, METHOD_LABELS, Run
from della.selection import SEARCHED, defaults
from della.tables.published import PAPER_METHOD

FREE = (*SEARCHED, "epsilon")  # options in which runs of one variant may differ


@dataclass(frozen=True)
class Variant:
    """One way to merge that an ablation compares.

    options: what makes it this variant; all others have their defaults, those in FREE any value. paper: table, method
    and variant of its rows in results/published.csv; None where the paper has none.
    """

    key: str
    label: str
    method: str
    options: Mapping[str, object] = field(default_factory=dict)
    paper: tuple[str, str, str] | None = None

    def fits(self, method: str, options: Mapping[str, object]) -> bool:
        """Whether a method with these options is this variant; an option that is left out has its default."""
        if method != self.method:
            return False
        usual = defaults(method)
        wanted = usual | dict(self.options)
        return all(options.get(name, usual.get(name)) == wanted[name] for name in wanted if name not in FREE)


@dataclass(frozen=True)
class Ablation:
    """One comparison of the paper.

    pairs: keys of variants, each (one, other): one minus other at equal merge, drop rate and lambda. printed: pair ->
    method and variant of the mean difference that the paper's text prints. axis: an option that the runs go along, and
    reference the value that others are compared with (None: pairs alone). merges: shown even where they have not run.
    single: of single experts instead of merges. mark: (option, value) that only this ablation's runs have; without
    one, `least` values of axis at one merge and variant are needed. extra: rows of the paper that stand for no variant,
    (label, merge, table, method, variant). drawn: the paper shows its pairs in a figure. notes: what the paper does not
    state.
    """

    name: str
    title: str
    variants: tuple[Variant, ...]
    pairs: tuple[tuple[str, str], ...] = ()
    printed: Mapping[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    axis: str = ""
    reference: float | None = None
    merges: tuple[tuple[str, ...], ...] = MERGES
    single: bool = False
    mark: tuple[str, object] | None = None
    least: int = 4
    extra: tuple[tuple[str, tuple[str, ...], str, str, str], ...] = ()
    drawn: bool = False
    notes: tuple[str, ...] = ()

    def variant_of(self, method: str, options: Mapping[str, object], merge: Sequence[str]) -> Variant | None:
        """The variant that a method with these options is, if any."""
        if (len(merge) == 1) != self.single or not merge:
            return None
        return next((variant for variant in self.variants if variant.fits(method, options)), None)

    def marked(self, method: str, options: Mapping[str, object], merge: Sequence[str]) -> bool:
        """Whether such a run is of this ablation and of no other."""
        if self.mark is None or self.variant_of(method, options, merge) is None:
            return False
        return options.get(self.mark[0]) == self.mark[1]

    def label(self, key: str) -> str:
        """A variant's label."""
        return next(variant.label for variant in self.variants if variant.key == key)


def _each(methods: Iterable[str], make: Callable[[str], Sequence[Variant]]) -> tuple[Variant, ...]:
    return tuple(variant for method in methods for variant in make(method))


def _elect(method: str) -> list[Variant]:
    label, paper = METHOD_LABELS[method], PAPER_METHOD[method]
    return [
        Variant(method, f"{label}, Elect", method, {}, ("1", paper, "elect")),
        Variant(f"{method} off", f"{label}, no Elect", method, {"elect": False}, ("4", paper, "no_elect")),
    ]


def _adaptive(method: str) -> list[Variant]:
    label = METHOD_LABELS[method]
    return [
        Variant(f"{method} constant", f"{label}, constant", method),
        Variant(f"{method} adaptive", f"{label}, adaptive", method, {"lambda_by": "adaptive"}),
    ]


def _rescaled(method: str) -> list[Variant]:
    label = METHOD_LABELS[method]
    return [
        Variant(f"{method} with", f"{label}, with scaling", method),
        Variant(f"{method} without", f"{label}, without", method, {"rescale": "none"}),
        Variant(f"{method} l1", f"{label}, to the L1 norm", method, {"rescale": "l1"}),
    ]


def _rescaled_expert(method: str) -> list[Variant]:
    label = {"dare": "DARE", "della": "DELLA"}[method]
    return [
        Variant(f"{method} with", f"{label}, with scaling", method, {}, ("3", method, "rescale")),
        Variant(f"{method} without", f"{label}, without", method, {"rescale": "none"}, ("3", method, "no_rescale")),
    ]


_MATH_CODE = ("code", "math")
_TOP = {"rank_by": "wanda", "trim_over": "row"}
_RANKED = "p proportional to rank"
ABLATIONS = (
    Ablation(
        "rescale_merge",
        "DELLA's Table 2: a merge with and without rescaling what is kept, lambda 1",
        _each(("dare_elect", "della"), _rescaled),
        tuple((f"{m} with", f"{m} {other}") for m in ("dare_elect", "della") for other in ("without", "l1")),
        merges=(_MATH_CODE,),
        mark=("rescale", "none"),
        extra=(
            ("paper, with scaling", _MATH_CODE, "2", "", "rescale"),
            ("paper, without", _MATH_CODE, "2", "", "no_rescale"),
        ),
        notes=(
            "paper: Table 2; it states neither the method nor the drop rate. With scaling minus without: Avg +7.6 "
            "(text on Table 2).",
        ),
    ),
    Ablation(
        "rescale_expert",
        "DELLA's Table 3: one expert pruned with and without rescaling what is kept",
        _each(("dare", "della"), _rescaled_expert),
        tuple((f"{m} with", f"{m} without") for m in ("dare", "della")),
        {(f"{m} with", f"{m} without"): (m, "rescale - no_rescale") for m in ("dare", "della")},
        axis="drop_rate",
        merges=(),
        single=True,
        mark=("rescale", "none"),
        notes=("paper: Table 3, a single expert; it names neither the expert nor the metric.",),
    ),
    Ablation(
        "no_elect",
        "DELLA's Table 4: merges without Elect, beside the same with it",
        _each(FRAME, _elect),
        (
            *((method, f"{method} off") for method in FRAME),
            *(("della off", f"{method} off") for method in FRAME if method != "della"),
        ),
        mark=("elect", False),
        notes=(
            "paper: Table 4, with Elect Table 1. Its released code registers DELLA without Elect as DELLA with it "
            "(deviations log); here Elect is left out.",
        ),
    ),
    Ablation(
        "wanda",
        "DELLA's Table 5: ranks by |delta| x input activation (WANDA) and by |delta|",
        (
            Variant("wanda top", "WANDA, p=0/1", "ties", _TOP, ("5", "wanda", "p=0/1")),
            Variant("wanda", "WANDA, p by rank", "della", {"rank_by": "wanda"}, ("5", "wanda", _RANKED)),
            Variant("della", "DELLA, p by rank", "della", {}, ("5", "della", _RANKED)),
            Variant("top", "magnitude, p=0/1", "ties", {"trim_over": "row"}),
            Variant("proportional", "DELLA, p by magnitude", "della", {"rank_by": "proportional"}),
        ),
        (("della", "wanda"), ("della", "wanda top"), ("top", "wanda top"), ("della", "proportional")),
        mark=("rank_by", "wanda"),
        notes=(
            "p=0/1: the highest of each row kept, the others dropped; p by rank: MAGPRUNE's probabilities; p by "
            "magnitude: the same window, by |delta| itself instead of its rank.",
        ),
    ),
    Ablation(
        "drop_rates",
        "DELLA's Table 7: MAGPRUNE merges by drop rate",
        (Variant("della", "DELLA", "della", {}, ("7", "della", "elect")),),
        axis="drop_rate",
        reference=0.5,
        notes=("paper: Table 7; it states neither lambda nor epsilon.",),
    ),
    Ablation(
        "lambdas",
        "DELLA's Figure 4: merges by lambda",
        tuple(Variant(method, METHOD_LABELS[method], method) for method in FRAME),
        axis="lambda_",
        reference=1.0,
        merges=(_MATH_CODE,),
        notes=("paper: Figure 4, of Math+Code; its values are in no text.",),
    ),
    Ablation(
        "adaptive_lambda",
        "DELLA's Figure 5: a constant lambda and an adaptive one",
        _each(("dare_elect", "ties", "della"), _adaptive),
        tuple((f"{m} constant", f"{m} adaptive") for m in ("dare_elect", "ties", "della")),
        {
            (f"{m} constant", f"{m} adaptive"): (PAPER_METHOD[m], "constant - adaptive")
            for m in ("dare_elect", "ties", "della")
        },
        mark=("lambda_by", "adaptive"),
        drawn=True,
        notes=("paper: the text on Figure 5; its values by merge are in no text.",),
    ),
    Ablation(
        "rank_over",
        "DELLA's Figure 6: ranks within each row and over the whole tensor",
        (
            Variant("row", "DELLA, row", "della"),
            Variant("tensor", "DELLA, tensor", "della", {"rank_over": "tensor"}),
        ),
        (("row", "tensor"),),
        mark=("rank_over", "tensor"),
        drawn=True,
        notes=("paper: Figure 6; its values are in no text (row better on average over the four merges).",),
    ),
)


def told(runs: Sequence[Run], curves: Sequence[Run], grids: Sequence[Mapping] = ()) -> list[Ablation]:
    """The ablations that runs on the test split, or the blocks of a sweep, are made for, in the paper's order.

    curves: those of the runs that are no search, which goes along drop rates and lambdas too. grids: blocks that
    choose, which may not have run yet.
    """
    found = [(run.method, dict(run.options), run.merge) for run in runs if run.method in METHODS]
    for grid in grids:
        first = {name: values[0] for name, values in grid["options"].items()}
        found += [(grid["method"], defaults(grid["method"]) | first, tuple(merge)) for merge in grid["merge"]]
    return [
        ablation for ablation in ABLATIONS if any(ablation.marked(*run) for run in found) or _long(ablation, curves)
    ]


def _long(ablation: Ablation, runs: Sequence[Run]) -> bool:
    """Whether the runs go along an ablation's axis: several values of it, all else equal."""
    if ablation.mark is not None:
        return False
    lengths: dict[tuple, set] = {}
    for run in runs:
        options = dict(run.options)
        if variant := ablation.variant_of(run.method, options, run.merge):
            rest = tuple(options.get(name) for name in FREE if name != ablation.axis)
            lengths.setdefault((run.merge, variant.key, rest), set()).add(options.get(ablation.axis))
    return any(len(values) >= ablation.least for values in lengths.values())
