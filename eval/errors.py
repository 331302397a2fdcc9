"""The exceptions that end as one line for the user, never as a traceback.

`eval/` imports nothing of `della/`, so it has its own; the scripts treat both alike.
"""


class InputError(ValueError):
    """The user's input is wrong: what, where, and what to write instead. Exit code 2."""


class JudgeError(RuntimeError):
    """A judge that cannot be reached, or that answers as no judge does: never a score. Exit code 1.

    What it judged before is kept, and the same command goes on from there.
    """
