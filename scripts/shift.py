"""How long a worker of a sweep may go on: without end on one's own machine, until its job's time limit under Slurm.

A worker in a job takes no run that the time left would not suffice for, judged by the longest that was measured. It
also ends when Slurm tells it to (SIGUSR2 ahead of the time limit or of a preemption, SIGTERM), and the run in progress
is lost. Either way it leaves with exit code 75, and the job's script puts the job back into the queue
(scripts/slurm/submit.py).
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from della.slurm import time_left

SIGNAL_DELAY = "DELLA_SIGNAL_DELAY"  # set in a job: how long before its time limit Slurm sends SIGUSR2, seconds
ROOM = 1.5  # runs differ: so many times the longest measured one must fit into the time left
ASK_SECONDS = 30.0  # how long to wait before Slurm is asked again for a time limit that it did not tell
SETTLE_SECONDS = 1.0  # Slurm signals the processes of a job one after the other
GO_ON_LATER, TOO_SHORT = 75, 1  # exit codes; 75 is EX_TEMPFAIL


class Leave(BaseException):
    """The worker ends before the sweep does. No Exception: no run is to blame for it."""

    code = GO_ON_LATER


class TooShort(Leave):
    """No run fits into the job's time limit: queueing again would not help."""

    code = TOO_SHORT


class Shift:
    """The time that one worker has.

    Args:
        margin: how long before the job's time limit a run must have ended, seconds; None outside of a job.
    """

    def __init__(self, margin: float | None = None) -> None:
        self.margin = margin
        self.over = False
        self._finished = 0
        self._running = False
        self._end: float | None = None  # of time.monotonic(); None: not known
        self._asked = 0.0
        if margin is not None:
            self._look()

    @classmethod
    def of_this_process(cls) -> "Shift":
        """In a job that a sweep submitted: until its time limit, and from now on Slurm's signals are heeded."""
        if SIGNAL_DELAY not in os.environ:
            return cls()
        shift = cls(float(os.environ[SIGNAL_DELAY]))
        for number in (signal.SIGTERM, signal.SIGUSR2):
            signal.signal(number, shift.interrupt)
        return shift

    @property
    def in_job(self) -> bool:
        """Whether this worker is a job of its own."""
        return self.margin is not None

    def check(self, seconds: float) -> None:
        """Raises Leave if a run of so many seconds would not end in time; the first run of a job is always tried."""
        if self.margin is None or not self._finished:
            return
        unknown = self._end is None and time.monotonic() - self._asked >= ASK_SECONDS
        if unknown or self._short(seconds):
            self._look()  # the limit may have been moved
        if self._short(seconds):
            self.over = True
            raise Leave("the time left does not suffice for another run")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Around a run. An error in one that Slurm is about to end is no failure of the run's: it becomes Leave."""
        self._running = True
        try:
            yield
            self._finished += 1
        except Exception:
            if self.in_job and not self.over:
                time.sleep(SETTLE_SECONDS)  # a signal raises here
            if self.over:
                raise Leave("Slurm ends this job") from None
            self._finished += 1
            raise
        finally:
            self._running = False

    def interrupt(self, number: int, frame: FrameType | None = None) -> None:
        """Slurm's signal. Raises Leave where the worker is; a second one is not heard while it leaves."""
        if not self.over:
            self.over = True
            self._leave(number)

    def _leave(self, number: int) -> NoReturn:
        near = self._end is not None and self.margin is not None and self._left() < self.margin + 60
        if number == signal.SIGUSR2 and near and self._running and not self._finished:
            raise TooShort("not one run ended within the job's time limit: write hydra.launcher.timeout_min=MINUTES")
        raise Leave(f"{signal.Signals(number).name}: Slurm ends this job")

    def _short(self, seconds: float) -> bool:
        return self._end is not None and self.margin is not None and self._left() < ROOM * seconds + self.margin

    def _left(self) -> float:
        return float("inf") if self._end is None else self._end - time.monotonic()

    def _look(self) -> None:
        left, self._asked = time_left(), time.monotonic()
        self._end = None if left is None else time.monotonic() + left
