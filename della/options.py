"""The options of each method: strict dataclasses that Hydra can compose, checked before any weight is read.

An unknown option is impossible, a wrong one is an `InputError` that says what to write. What a method fixes is a plain
class attribute here, so `options.elect`, `options.fuse`, `options.lambda_` and `options.lambda_by` can be read of every
method. Options made by `_later` came after records were written: `della.methods.describe` names them only where they
are not at their defaults, so that what was merged before is still the same run.
"""

import dataclasses
import math
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from della.errors import InputError

RESCALE = ("per_parameter", "l1", "none")
RANK_BY = ("magnitude", "random", "wanda", "proportional")
TRIM_BY = ("magnitude", "wanda")
RANK_OVER = ("row", "tensor")
TRIM_OVER = ("tensor", "global", "row")
FUSE = ("mean", "sum")
LAMBDA_BY = ("constant", "adaptive")


class Options:
    """What is common to the options of all methods.

    name: of the method. elect: whether the sign elects. fuse: "mean" or "sum". lambda_: factor of the fused delta.
    lambda_by: "constant", or "adaptive" for `della.fuse.adapt` in its place.
    """

    name: str
    elect: bool
    fuse: str
    lambda_: float = 1.0
    lambda_by: str = "constant"

    def __post_init__(self) -> None:
        """Check every option alone; numbers become floats.

        Raises:
            InputError: an option has a wrong type or is out of its bounds.
        """
        for option in dataclasses.fields(self):  # type: ignore[arg-type]
            setattr(self, option.name, _checked(self.name, option, getattr(self, option.name)))
        if self.lambda_by == "adaptive":
            _check_adaptive(self)

    @property
    def is_random(self) -> bool:
        """Whether the merge depends on a mask seed."""
        return False

    @property
    def by_scores(self) -> bool:
        """Whether deltas are compared by WANDA's scores."""
        return getattr(self, "rank_by", "") == "wanda"

    @property
    def by_activations(self) -> bool:
        """Whether the merge depends on the experts' input activations: they are compared by scores, to be dropped."""
        return self.by_scores and getattr(self, "drop_rate", 0.0) > 0


class RandomDrop(Options):
    """Options of a method that drops at random."""

    drop_rate: float

    @property
    def is_random(self) -> bool:
        return self.drop_rate > 0


def _checked(method: str, option: dataclasses.Field, value: Any) -> Any:
    if option.type is float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not is_single(value):
            raise InputError(f"method {method}: {option.name} is {value!r}; write a finite number")
        value = float(value)
    elif not isinstance(value, option.type):  # type: ignore[arg-type]
        wanted = "true or false" if option.type is bool else "a word"
        raise InputError(f"method {method}: {option.name} is {value!r}; write {wanted}")
    choices = option.metadata.get("choices")
    if choices and value not in choices:
        raise InputError(f"method {method}: {option.name} is {value!r}; write one of {', '.join(choices)}")
    if option.name == "drop_rate" and not 0 <= value < 1:
        raise InputError(f"method {method}: drop_rate is {value:g}; write a number >= 0 and < 1, such as 0.5 for half")
    if option.name == "gamma" and not 0 <= value < 1:
        raise InputError(f"method {method}: gamma is {value:g}; write a number >= 0 and < 1, such as 0.01")
    if option.name == "epsilon" and value < 0:
        raise InputError(f"method {method}: epsilon is {value:g}; write a number >= 0, the full width of the window")
    return value


def _check_adaptive(options: Options) -> None:
    """Raises InputError where adaptive lambda would leave another option without effect, or has nothing to go by."""
    where = f"method {options.name}: lambda_by=adaptive"
    if not options.elect:
        raise InputError(f"{where} counts what is elected, and elect is false; write elect=true, or lambda_by=constant")
    if options.lambda_ != 1:
        raise InputError(
            f"{where} takes lambda's place, and lambda_ is {options.lambda_:g}; "
            "leave lambda_ at 1, or write lambda_by=constant"
        )


def is_single(value: float) -> bool:
    """Whether a number is finite, in float32 too, which merges are computed in."""
    return math.isfinite(value) and abs(value) < 2.0**128 - 2.0**103


def _drop_rate(default: float, what: str = "mean probability that a delta is dropped") -> Any:
    return field(default=default, metadata={"help": f"p, the {what}, >= 0 and < 1"})


def _choice(default: str, choices: tuple[str, ...], what: str) -> Any:
    return field(default=default, metadata={"help": f"{what}: {' | '.join(choices)}", "choices": choices})


def _rescale() -> Any:
    what = "kept deltas are divided by their keep probability, or keep their tensor's L1 norm, or stay"
    return _choice("per_parameter", RESCALE, what)


def _elect() -> Any:
    return field(default=True, metadata={"help": "true | false: only deltas of the winning sign count, or all"})


def _fuse() -> Any:
    return _choice("mean", FUSE, "of the elected deltas")


def _lambda() -> Any:
    return field(default=1.0, metadata={"help": "factor of the fused delta, any finite number"})


_LATER = "later"


def _later(default: str, choices: tuple[str, ...], what: str) -> Any:
    option = _choice(default, choices, what)
    return field(default=default, metadata={**option.metadata, _LATER: True})


def _lambda_by() -> Any:
    what = "lambda_, or of each expert and row the kept deltas over the elected ones"
    return _later("constant", LAMBDA_BY, what)


def later_options(options: "type[Options]") -> dict[str, Any]:
    """The options of a method that descriptions leave out at their defaults, with these."""
    return {
        option.name: option.default
        for option in dataclasses.fields(options)  # type: ignore[arg-type]
        if option.metadata.get(_LATER)
    }


@dataclass
class Average(Options):
    name = "average"
    elect = False
    fuse = "mean"
    lambda_ = 1.0


@dataclass
class Linear(Options):
    name = "linear"
    elect = False
    fuse: str = field(
        default="mean", metadata={"help": "of the weights: mean | sum (of weight times model)", "choices": FUSE}
    )


@dataclass
class ModelStock(Options):
    name = "model_stock"
    elect = False
    fuse = "mean"


@dataclass
class TaskArithmetic(Options):
    name = "task_arithmetic"
    elect = False
    fuse = "sum"
    lambda_: float = _lambda()


@dataclass
class Dare(RandomDrop):
    name = "dare"
    elect = False
    fuse = "sum"
    drop_rate: float = _drop_rate(0.5)
    rescale: str = _rescale()
    lambda_: float = _lambda()


@dataclass
class DareTies(RandomDrop):
    name = "dare_ties"
    elect = True
    fuse = "sum"
    drop_rate: float = _drop_rate(0.5)
    rescale: str = _rescale()
    lambda_: float = _lambda()


@dataclass
class TaElect(Options):
    name = "ta_elect"
    elect: bool = _elect()
    fuse: str = _fuse()
    lambda_: float = _lambda()
    lambda_by: str = _lambda_by()


@dataclass
class DareElect(RandomDrop):
    name = "dare_elect"
    drop_rate: float = _drop_rate(0.5)
    rescale: str = _rescale()
    elect: bool = _elect()
    fuse: str = _fuse()
    lambda_: float = _lambda()
    lambda_by: str = _lambda_by()


@dataclass
class Breadcrumbs(Options):
    name = "breadcrumbs"
    drop_rate: float = _drop_rate(0.1, "part of the deltas that is dropped: outliers and the smallest")
    gamma: float = field(default=0.01, metadata={"help": "part that is dropped as outliers, the largest, >= 0 and < 1"})
    elect: bool = field(default=False, metadata={"help": "true | false: only deltas of the winning sign count, or all"})
    fuse: str = _choice("sum", FUSE, "of the elected deltas")
    lambda_: float = _lambda()


@dataclass
class Ties(Options):
    name = "ties"
    drop_rate: float = _drop_rate(0.8, "part of the deltas that is dropped, the smallest")  # k = 20 in arXiv 2306.01708
    trim_over: str = _choice(
        "tensor", TRIM_OVER, "kept are the largest deltas of each tensor, of all (also unpruned), or of each row"
    )
    rank_by: str = _later("magnitude", TRIM_BY, "what a delta is compared by; wanda: |delta| times its input's norm")
    elect: bool = _elect()
    fuse: str = _fuse()
    lambda_: float = _lambda()
    lambda_by: str = _lambda_by()


@dataclass
class Della(RandomDrop):
    name = "della"
    drop_rate: float = _drop_rate(0.5)
    epsilon: float = field(
        default=0.14, metadata={"help": "full width of the window of drop probabilities around drop_rate, >= 0"}
    )
    rescale: str = _rescale()
    rank_by: str = _choice(
        "magnitude",
        RANK_BY,
        "what a delta is ranked by, rank 0 is dropped least; wanda: |delta| times its input's norm; "
        "proportional: no rank, the magnitude itself",
    )
    rank_over: str = _choice("row", RANK_OVER, "ranks within each row (last dimension) or over the whole tensor")
    elect: bool = _elect()
    fuse: str = _fuse()
    lambda_: float = _lambda()
    lambda_by: str = _lambda_by()

    def __post_init__(self) -> None:
        super().__post_init__()
        p, half = Decimal(str(self.drop_rate)), Decimal(str(self.epsilon)) / 2
        given = f"method della: drop_rate {self.drop_rate:g} with epsilon {self.epsilon:g}"
        if p - half < 0:
            raise InputError(
                f"{given} breaks drop_rate - epsilon/2 >= 0; "
                f"write an epsilon of at most {float(2 * p):g} or a drop_rate of at least {float(half):g}"
            )
        if p + half >= 1 or 1 - (self.drop_rate + self.epsilon / 2) < 2.0**-32:  # in floats, what is kept least is too
            raise InputError(
                f"{given} breaks drop_rate + epsilon/2 < 1; "
                f"write an epsilon below {float(2 - 2 * p):g} or a drop_rate below {float(1 - half):g}"
            )
