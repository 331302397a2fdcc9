"""The one exception that means "the user's input is wrong": shown as one line, exit code 2, never as a traceback."""


class InputError(ValueError):
    """What is wrong, where, and what to write instead, in one line."""
