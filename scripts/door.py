"""The one door of every script: arguments in, one line and exit code 2 out when they are wrong.

`@door("run")` makes a Hydra application of a function that takes the script's dataclass. A user's mistake, Hydra's own
errors included, ends as `error: what, where, what to write instead`; a bug ends as a traceback.
"""

import contextlib
import os
import sys
import uuid
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from typing import Any, NoReturn

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from della.errors import InputError
from eval.errors import InputError as EvalInputError
from eval.errors import JudgeError
from scripts.arguments import explain, rewrite
from scripts.gpus import cores, workers
from scripts.help import help_text
from scripts.schema import CONFIGS, register

INVOCATION = "DELLA_INVOCATION"  # names one execution of a command; a sweep's workers inherit it
SUBMISSION = "DELLA_SUBMISSION"  # in a job: the invocation that submitted it, however often the job is requeued
MISTAKES = (InputError, EvalInputError, HydraException, OmegaConfBaseException)


class RunsFailed(Exception):
    """Some runs of a sweep failed; each is recorded with its reason. Exit code 1."""


def door(root: str, typed: bool = True) -> Callable[[Callable], Callable[[], None]]:
    """Decorator: a script's main function, which receives its dataclass of `scripts.schema.ROOTS[root]`.

    With typed=False it receives what Hydra composed, and says itself what is wrong with the values.

    Exit codes: 0 done; 1 runs of a sweep failed, a judge can't be reached, or a worker was killed; 2 the input is
    wrong; 130 interrupted.
    """

    def decorate(function: Callable) -> Callable[[], None]:
        def main() -> None:
            os.environ["HYDRA_FULL_ERROR"] = "1"  # hand the exception to us instead of printing it
            os.environ[INVOCATION] = os.environ.get(SUBMISSION) or f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
            prepare()
            try:
                sys.argv[1:] = rewrite(sys.argv[1:])
                check(root, sys.argv[1:])
                with contextlib.redirect_stderr(WithoutOverrides(sys.stderr)):
                    hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=root)(
                        Typed(function) if typed else function
                    )()
            except MISTAKES as error:
                leave(2, f"error: {explain(error)}")
            except (PermissionError, NotADirectoryError, FileExistsError) as error:
                leave(2, f"error: {error.filename}: {error.strerror}; name a folder that you may write to")
            except (RunsFailed, JudgeError) as error:
                leave(1, f"failed: {error}")
            except BrokenExecutor:
                leave(1, "failed: a worker was killed (out of memory?); the same command goes on from here")
            except KeyboardInterrupt:
                leave(130, "interrupted: what is done is kept; the same command goes on from here")

        return main

    return decorate


def check(root: str, arguments: list[str]) -> None:
    """Composes what the workers of a multirun will compose, so that a mistake shows at once and once."""
    if not {"-m", "--multirun"} & set(arguments):
        return
    overrides = OverridesParser.create().parse_overrides([a for a in arguments if not a.startswith("-")])
    given = [override.input_line or "" for override in overrides if not override.is_sweep_override()]
    with hydra.initialize_config_dir(str(CONFIGS), version_base="1.3"):
        OmegaConf.to_object(hydra.compose(root, overrides=given))


def leave(code: int, message: str) -> NoReturn:
    """Ends the command with one line on standard error."""
    print(message, file=sys.stderr)
    sys.exit(code)


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
    OmegaConf.register_new_resolver("workers", workers, replace=True)
    OmegaConf.register_new_resolver("help", help_text, replace=True)
