"""The methods, one row each: options, how it prunes, where it was published. The one place to add a method.

    method = make_method("della", drop_rate=0.5, epsilon=0.14)
    METHODS[method.name].paper

Plain sums: average, task_arithmetic, dare, dare_ties. Table 1's frame of arXiv 2406.11617 (drop, elect, fuse by the
mean of the elected): ta_elect, dare_elect, ties, della. The paper's ablations are options of these, not rows.

torch is imported by the pruning functions when they run: the CPU engine has kernels for most rows and needs none.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from della import options as o
from della.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from della.prune import Cut, Pruned


@dataclass(frozen=True)
class Site:
    """Where a delta comes from: all that its pruning depends on beside its values and the options.

    cut: what the method's `survey` of the whole expert found for this tensor.
    norms: float32 [columns], of the expert's input activations; None where the tensor has none.
    """

    seed: int | None
    expert: str
    tensor: str
    cut: "Cut | None" = None
    norms: "Tensor | None" = None

    def words(self, delta: "Tensor", purpose: str = "") -> "Tensor":
        """One random word per parameter; a purpose other than the mask has a stream of its own.

        Raises:
            InputError: there is no seed.
        """
        from della.random import uniform_words

        return uniform_words(self.checked_seed, self.expert, self.stream(purpose), 0, delta.numel(), delta.device)

    def stream(self, purpose: str = "") -> str:
        """The name of a stream of words for this tensor."""
        return f"{self.tensor}\0{purpose}" if purpose else self.tensor

    @property
    def checked_seed(self) -> int:
        """The seed. Raises InputError where there is none."""
        if self.seed is None:
            raise InputError("the method drops at random and no mask seed is given; write seed=1 or another integer")
        return self.seed


Prune = Callable[["Tensor", Any, Site], "Pruned"]
Survey = Callable[[Callable[[], Iterable["Tensor"]], Any], Iterator["Cut | None"]]
Factor = Callable[[list["Tensor"]], float]


def _keep_all(delta: "Tensor", options: o.Options, site: Site) -> "Pruned":
    from della.prune import keep_all

    return keep_all(delta)


def _bernoulli(delta: "Tensor", options: o.Dare | o.DareTies | o.DareElect, site: Site) -> "Pruned":
    from della.prune import bernoulli, keep_all

    if not options.is_random:
        return keep_all(delta)
    return bernoulli(delta, site.words(delta), options.drop_rate, options.rescale)


def _magprune(delta: "Tensor", options: o.Della, site: Site) -> "Pruned":
    from della.prune import keep_all, magprune

    if not options.is_random:
        return keep_all(delta)
    if options.rank_by == "proportional":
        from della.rankings import proportional

        return proportional(
            delta,
            site.words(delta),
            options.drop_rate,
            options.epsilon,
            rescale=options.rescale,
            rank_over=options.rank_over,
        )
    return magprune(
        delta,
        site.words(delta),
        options.drop_rate,
        options.epsilon,
        rescale=options.rescale,
        rank_over=options.rank_over,
        rank_words=site.words(delta, "rank") if options.rank_by == "random" else None,
        scores=scores_of(delta, options, site.norms),
    )


def scores_of(delta: "Tensor", options: o.Options, norms: "Tensor | None") -> "Tensor":
    """What a delta is ranked or cut by: its magnitude, or WANDA's score where its tensor has input activations."""
    if not options.by_scores or norms is None:
        return delta
    from della.rankings import wanda_scores

    return wanda_scores(delta, norms)


def _top_k(delta: "Tensor", options: o.Ties, site: Site) -> "Pruned":
    from della.prune import find_cut, keep_all, top_k
    from della.rankings import top_k_rows

    if options.drop_rate == 0:
        return keep_all(delta)
    scores = scores_of(delta, options, site.norms)
    if options.trim_over == "row":
        return top_k_rows(delta, options.drop_rate, scores)
    return top_k(delta, site.cut or find_cut(lambda: [scores], options.drop_rate), scores)


def _breadcrumbs(delta: "Tensor", options: o.Breadcrumbs, site: Site) -> "Pruned":
    from della.prune import breadcrumbs

    return breadcrumbs(delta, options.drop_rate, options.gamma)


def _stock_factor(deltas: "list[Tensor]") -> float:
    from della.fuse import stock_factor

    return stock_factor(deltas)


def _no_survey(deltas: "Callable[[], Iterable[Tensor]]", options: o.Options) -> Iterator[None]:
    return itertools.repeat(None)


def _survey_trim(deltas: "Callable[[], Iterable[Tensor]]", options: o.Ties) -> "Iterator[Cut | None]":
    from della.prune import find_cut, share_cut

    if options.trim_over != "global":
        return itertools.repeat(None)
    return share_cut(deltas(), find_cut(deltas, options.drop_rate))


@dataclass(frozen=True)
class Method:
    """One row.

    options: its dataclass, which also says whether and how it elects and fuses.
    prune: one delta of one expert -> what is kept of it.
    summary: one line for a reader who chooses.
    paper: where it was published.
    survey: looks at what all deltas of an expert are ranked by (`scores_of`), in name order, before the first is pruned
        -> one `Cut` per tensor.
    factor: of all pruned deltas of a tensor -> what its fused delta is multiplied by, beside lambda.
    kernel: the pruning of della.kernels.block that does the same on the CPU; without one, `prune` runs there too.
    absolute: what is merged are the experts' weights themselves, not their differences from the base.
    """

    options: type[o.Options]
    prune: Prune
    summary: str
    paper: str
    survey: Survey = _no_survey
    factor: Factor | None = None
    kernel: str | None = None
    absolute: bool = False


_DELLA = "arXiv 2406.11617"
_SOUPS = "arXiv 2203.05482, section 2"
_ARITHMETIC = "arXiv 2212.04089, section 2"
_STOCK = "arXiv 2403.19522, section 4"
METHODS: dict[str, Method] = {
    "average": Method(o.Average, _keep_all, "mean of the deltas", _SOUPS, kernel="keep_all"),
    "linear": Method(o.Linear, _keep_all, "mean of the models", _SOUPS, kernel="keep_all", absolute=True),
    "task_arithmetic": Method(o.TaskArithmetic, _keep_all, "sum of the deltas", _ARITHMETIC, kernel="keep_all"),
    "dare": Method(o.Dare, _bernoulli, "random drop, sum", "arXiv 2311.03099, equations 1 and 3", kernel="bernoulli"),
    "dare_ties": Method(
        o.DareTies, _bernoulli, "random drop, elect, sum", "arXiv 2311.03099, section 3.3", kernel="bernoulli"
    ),
    "ta_elect": Method(o.TaElect, _keep_all, "elect, mean", f"{_DELLA}, Table 1, TA (p = 0)", kernel="keep_all"),
    "dare_elect": Method(
        o.DareElect,
        _bernoulli,
        "random drop, elect, mean",
        f"{_DELLA}, Table 1, DARE (epsilon = 0)",
        kernel="bernoulli",
    ),
    "ties": Method(
        o.Ties, _top_k, "largest deltas, elect, mean", "arXiv 2306.01708, section 3", _survey_trim, kernel="top_k"
    ),
    "della": Method(o.Della, _magprune, "MAGPRUNE, elect, mean", f"{_DELLA}, section 2", kernel="magprune"),
    "breadcrumbs": Method(
        o.Breadcrumbs, _breadcrumbs, "no outliers, no small deltas, sum", "arXiv 2312.06795, section 3"
    ),
    "model_stock": Method(o.ModelStock, _keep_all, "mean, as far as the deltas agree", _STOCK, factor=_stock_factor),
}


def make_method(name: str, **options: Any) -> o.Options:
    """The checked options of a method; what is not given has its default.

    Args:
        name: a key of `METHODS`.
        options: fields of that method's dataclass.

    Raises:
        InputError: no such method, no such option, or a value out of bounds.
    """
    if name not in METHODS:
        raise InputError(f"there is no method {name!r}; write one of {', '.join(METHODS)}")
    known = [option.name for option in dataclasses.fields(METHODS[name].options)]  # type: ignore[arg-type]
    for option in options:
        if option not in known:
            has = f"its options are {', '.join(known)}" if known else "it has none"
            raise InputError(f"method {name} has no option {option!r}; {has}")
    return METHODS[name].options(**options)


def describe(method: o.Options) -> dict[str, Any]:
    """The method as a record and a merge.json write it: its name and every option.

    Options that came later are left out at their defaults (`undescribed` puts them back).
    """
    later = o.later_options(type(method))
    given = dataclasses.asdict(method)  # type: ignore[call-overload]
    return {"name": method.name, **{k: v for k, v in given.items() if k not in later or v != later[k]}}


def undescribed(method: str) -> dict[str, Any]:
    """The options, with their defaults, that a description of this method may leave out; none of an unknown method."""
    return o.later_options(METHODS[method].options) if method in METHODS else {}
