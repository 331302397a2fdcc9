"""Options of a method that change nothing where they are, so that a sweep would run the same merge twice.

idle_options(make_method("della", drop_rate=0.5, epsilon=0.0), experts=2)
# {"rank_by": "at epsilon 0 every drop probability is drop_rate", "rank_over": ...}
"""

from della.options import Options

_NOTHING_DROPPED = ("rescale", "rank_by", "rank_over", "trim_over")
_NO_WINDOW = ("rank_by", "rank_over")
_ONE_EXPERT = ("elect", "fuse", "lambda_by")


def idle_options(options: Options, experts: int) -> dict[str, str]:
    """Name -> why the option changes nothing, for the options that this method has.

    experts: how many are merged.
    """
    found: dict[str, str] = {}
    values = vars(options)
    if experts == 1 and options.name != "linear":
        found |= dict.fromkeys(_ONE_EXPERT, "with one expert there is nothing to elect or to average")
    if values.get("epsilon") == 0:
        found |= dict.fromkeys(_NO_WINDOW, "at epsilon 0 every drop probability is drop_rate")
    if values.get("drop_rate") == 0 and options.name != "breadcrumbs":
        found |= dict.fromkeys(_NOTHING_DROPPED, "at drop_rate 0 nothing is dropped")
    return {name: why for name, why in found.items() if name in values}
