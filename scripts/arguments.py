"""Command-line arguments: what may be written beyond Hydra's grammar, and what is said of a mistake in them.

rewrite(["seed=1", "-m"])       # what Hydra is given; InputError for what it would drop or misread
explain(error)                  # "method.epsilonn=0.1: no such option; did you mean method.epsilon?"
"""

import difflib
import os
import re
from collections.abc import Iterable
from dataclasses import fields, is_dataclass

from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    MissingMandatoryValue,
    OmegaConfBaseException,
)

from della.errors import InputError
from scripts.schema import group_choices

FLAGS = ("-h", "--help", "-m", "--multirun", "-c", "--cfg", "--resolve")
# New names may be added below these keys without Hydra's `+`: experts.models.NAME=DIR, judge.settings.NAME=VALUE, ...
OPEN_KEYS = re.compile(
    r"(experts\.(models|hub)|weights|activations\.(data|files)|judge\.settings|sweep\.grids\.\w+\.options|assume\.\w+"
    r"|sweep\.search\.options|hydra\.launcher\.additional_parameters)\.[\w-]+="
)
SEARCHED = re.compile(r"^sweep\.(search(es\.\w+)?\.space|searches)\.$")  # of typed nodes, which `++` cannot add
HOME = re.compile(r"^([\w.-]+=)~/")  # a shell expands ~ at the start of a word only
WRONG_TYPES = {
    r"to Integer": "write a whole number",
    r"to Float": "write a number",
    r"valid bool": "write true or false",
    r"not a ListConfig": "write a list, as [a,b]",
    r"not Optional": "write a value; null is none",
    r"Cannot assign \w+ to Dict": "write one of its entries, as KEY.NAME=VALUE",
}


def rewrite(arguments: list[str]) -> list[str]:
    """The arguments as Hydra wants them: flags first, `++` before a name that a dictionary has not yet, no ~ for home.

    Raises InputError for what Hydra would take without a word: two sweep files at once (it drops the parameters of
    both), `+` and `~` (they add keys that nothing reads, and take away keys that the schema then puts back).
    """
    arguments = _with_file(arguments)
    flags = [a for a in arguments if a.startswith("-")]
    for flag in flags:
        if flag not in FLAGS:
            raise InputError(f"{flag}: no such flag; options are written key=value, and --help lists them")
    for argument in arguments:
        if argument.startswith(("+", "~")):
            raise InputError(f"{argument}: write {argument.lstrip('+~').partition('=')[0]}=VALUE, without + and ~")
    sweeps = [a for a in arguments if re.match(r"sweep=", a)]
    if len(sweeps) > 1 or any("," in sweep for sweep in sweeps):
        raise InputError(f"{' '.join(sweeps)}: one sweep at a time; run the command once for each sweep")
    arguments = [HOME.sub(lambda start: start[1] + os.path.expanduser("~/"), a) for a in arguments]
    ours = sorted(arguments, key=lambda a: a not in ("-m", "--multirun"))  # argparse reads no option after a late flag
    return ["++" + a if OPEN_KEYS.match(a) else a for a in ours]


def _with_file(arguments: list[str]) -> list[str]:
    """`--mergekit FILE` as `mergekit=FILE`."""
    if "--mergekit" in arguments:
        at = arguments.index("--mergekit")
        if at + 1 == len(arguments):
            raise InputError("--mergekit: names no file; write --mergekit FILE.yml")
        arguments = [*arguments[:at], f"mergekit={arguments[at + 1]}", *arguments[at + 2 :]]
    return [a.removeprefix("--") if a.startswith("--mergekit=") else a for a in arguments]


def explain(error: BaseException) -> str:
    """What a user reads of a mistake: one line with what is wrong, where, and what to write instead."""
    cause = error.__cause__
    if isinstance(error, OverrideParseException):
        return f"{error.override}: cannot be read; write key=value, and quote what holds ( ) [ ] {{ }} , or = in it"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _unknown_choice(error.missing_cfg_file)
    if isinstance(error, MissingMandatoryValue):
        return _not_set(error)
    if isinstance(error, ConfigCompositionException):
        if isinstance(cause, ConfigAttributeError | ConfigKeyError):
            return _unknown_option(cause)
        if isinstance(cause, OmegaConfBaseException):
            return f"{str(error).removeprefix('Error merging override ')}: {_wrong_type(cause)}"
        if unknown := re.match(r"Could not override '(.+?)'", str(error)):
            return f"{unknown[1]}: no such option; --help lists them"
        if several := re.match(r"Ambiguous value for argument '(.*)'", str(error)):
            key, _, values = several[1].partition("=")
            return f"{several[1]}: write one value, or a list as {key}=[{values}]"
    return one_line(str(error) or type(error).__name__)


def one_line(text: str) -> str:
    """A message on one line, without what OmegaConf adds for the programmer."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "; ".join(line for line in lines if not re.match(r"(full_key|object_type|reference_type):", line))


def _unknown_choice(config: str) -> str:
    """`config` is group/name."""
    group, _, name = config.rpartition("/")
    return f"{group}={name}: no such choice; {_instead(name, group_choices(group))}"


def _unknown_option(error: OmegaConfBaseException) -> str:
    parent = error.parent_node
    names = [str(name) for name in parent if name != "hydra"] if parent is not None else []
    prefix = (error.full_key or "").removesuffix(str(error.key))
    method = getattr(error.object_type, "name", None) if prefix == "method." else None
    where = f"no such option of method {method}" if method else "no such option"
    added = "; a further one goes into a file of configs/sweep" if SEARCHED.search(prefix) else ""
    return f"{error.full_key}: {where}; {_instead(str(error.key), names, prefix)}{added}"


def _instead(name: str, known: Iterable[str], prefix: str = "") -> str:
    known = list(known)
    near = difflib.get_close_matches(name, known, n=1)
    if near:
        return f"did you mean {prefix}{near[0]}?"
    return f"write one of {', '.join(prefix + other for other in known)}" if known else "it has none"


def _wrong_type(error: OmegaConfBaseException) -> str:
    message = error.msg or str(error)
    return next((words for pattern, words in WRONG_TYPES.items() if re.search(pattern, message)), one_line(message))


def _not_set(error: MissingMandatoryValue) -> str:
    node = error.object_type
    known = {item.name: item.metadata.get("help") for item in fields(node)} if is_dataclass(node) else {}
    described = f": {text}" if (text := known.get(str(error.key))) else ""
    return f"{error.full_key} is not set; write {error.full_key}=VALUE{described}"
