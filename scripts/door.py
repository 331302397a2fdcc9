"""The one door of every script: arguments in, one line and exit code 2 out when they are wrong.

`@door("run")` makes a Hydra application of a function that takes the script's dataclass. A user's mistake, Hydra's own
errors included, ends as `error: what, where, what to write instead`; a bug ends as a traceback.
"""

import contextlib
import os
import re
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from della.errors import InputError
from eval.errors import InputError as EvalInputError
from scripts.help import help_text
from scripts.schema import register

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
INVOCATION = "DELLA_INVOCATION"  # names one execution of a command; a sweep's workers inherit it
MISTAKES = (InputError, EvalInputError, HydraException, OmegaConfBaseException)


class RunsFailed(Exception):
    """Some runs of a sweep failed; each is recorded with its reason. Exit code 1."""


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


def one_line(error: BaseException) -> str:
    """The message of an error on one line, without Hydra's help texts and repeated causes."""
    text = str(error).strip() or type(error).__name__
    kept = [line.strip() for line in text.splitlines() if line.strip()]
    kept = [
        line for line in kept if not re.match(r"(full_key|object_type|reference_type|See https?:|Set the env)", line)
    ]
    return re.sub(r"\s+", " ", "; ".join(kept)).rstrip(";")


def rewrite(arguments: list[str]) -> list[str]:
    """Lets `experts.models.NAME=DIR` name a new expert, which Hydra itself would want as `++experts.models...`.

    Raises InputError for two sweep files at once: Hydra would drop the parameters of both without a word.
    """
    for argument in arguments:
        if re.match(r"sweep=.*,", argument):
            raise InputError(f"{argument}: one sweep at a time; run the command once for each sweep")
    return ["++" + a if re.match(r"experts\.models\.[\w-]+=", a) else a for a in arguments]


def door(root: str) -> Callable[[Callable], Callable[[], None]]:
    """Decorator: a script's main function, which receives its dataclass of `scripts.schema.ROOTS[root]`.

    Exit codes: 0 done; 1 runs of a sweep failed; 2 the input is wrong; 130 interrupted.
    """

    def decorate(function: Callable) -> Callable[[], None]:
        def main() -> None:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # hand the exception to us instead of printing it
            os.environ[INVOCATION] = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
            prepare()
            try:
                sys.argv[1:] = rewrite(sys.argv[1:])
                with contextlib.redirect_stderr(WithoutOverrides(sys.stderr)):
                    hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=root)(Typed(function))()
            except MISTAKES as error:
                print(f"error: {one_line(error)}", file=sys.stderr)
                sys.exit(2)
            except RunsFailed as error:
                print(f"failed: {error}", file=sys.stderr)
                sys.exit(1)
            except KeyboardInterrupt:
                print("interrupted: what is done is kept; the same command goes on from here", file=sys.stderr)
                sys.exit(130)

        return main

    return decorate


class WithoutOverrides:
    """Standard error without Hydra's line that repeats the arguments of a failed worker: the error itself follows."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        return len(text) if text.startswith("Error executing job with overrides") else self.stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class Typed:
    """Turns Hydra's config into the dataclass and calls the function; a class, so that workers can unpickle it."""

    def __init__(self, function: Callable) -> None:
        self.function = function
        self.__name__ = function.__name__

    def __call__(self, config: DictConfig) -> None:
        self.function(OmegaConf.to_object(config))


def prepare() -> None:
    """Registers schemas and resolvers; Hydra needs both before it composes anything."""
    register()
    OmegaConf.register_new_resolver("cores", cores, replace=True)
    OmegaConf.register_new_resolver("help", help_text, replace=True)
