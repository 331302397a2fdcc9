"""When a worker in a job stops: before its time limit, when Slurm says so, and never because of a run's own error."""

import math
import os
import signal

import pytest

from scripts import shift as module
from scripts.shift import GO_ON_LATER, SIGNAL_DELAY, Leave, Shift, TooShort


@pytest.fixture
def job(monkeypatch):
    """Makes the shift of a job with so many seconds left, of which the last 100 are the margin."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR2)}
    monkeypatch.setenv(SIGNAL_DELAY, "100")
    monkeypatch.setattr(module, "SETTLE_SECONDS", 0.01)

    def start(left: float | None) -> Shift:
        monkeypatch.setattr(module, "time_left", lambda: left)
        return Shift.of_this_process()

    yield start
    for number, handler in before.items():
        signal.signal(number, handler)


def finish_one(shift: Shift) -> None:
    with shift.running():
        pass


def test_outside_of_a_job_a_worker_goes_on_for_ever(monkeypatch):
    monkeypatch.delenv(SIGNAL_DELAY, raising=False)
    shift = Shift.of_this_process()
    finish_one(shift)
    shift.check(1e9)
    assert not shift.in_job


def test_a_run_has_to_fit_one_and_a_half_times_into_what_is_left_before_the_margin(job):
    """400 s left, 100 of them margin: 199 s x 1.5 = 298.5 fit into 300, 201 x 1.5 = 301.5 do not."""
    shift = job(400)
    finish_one(shift)
    shift.check(199)
    with pytest.raises(Leave) as leaving:
        shift.check(201)
    assert leaving.value.code == GO_ON_LATER
    assert shift.over


def test_the_first_run_of_a_job_is_always_tried(job):
    job(10).check(1e9)


def test_without_a_time_limit_every_run_fits(job):
    shift = job(math.inf)
    finish_one(shift)
    shift.check(1e9)


def test_a_limit_that_slurm_did_not_tell_at_first_is_asked_for_again(job, monkeypatch):
    shift = job(None)
    finish_one(shift)
    monkeypatch.setattr(module, "time_left", lambda: 110.0)
    shift.check(50)  # not at once
    monkeypatch.setattr(module, "ASK_SECONDS", 0.0)
    with pytest.raises(Leave):
        shift.check(50)


def test_a_limit_that_was_moved_is_noticed(job, monkeypatch):
    shift = job(150)
    finish_one(shift)
    monkeypatch.setattr(module, "time_left", lambda: 10_000.0)
    shift.check(1000)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_slurms_signal_ends_the_run_in_progress_and_a_second_one_is_not_heard(job, number):
    shift = job(5000)
    with pytest.raises(Leave) as leaving, shift.running():
        os.kill(os.getpid(), number)
    assert leaving.value.code == GO_ON_LATER
    os.kill(os.getpid(), number)


def test_a_job_whose_limit_no_run_fits_into_is_not_queued_again(job):
    shift = job(150)
    with pytest.raises(TooShort, match="timeout_min") as leaving, shift.running():
        os.kill(os.getpid(), signal.SIGUSR2)
    assert leaving.value.code == 1


def test_a_job_that_finished_a_run_before_its_limit_is_queued_again(job):
    shift = job(150)
    finish_one(shift)
    with pytest.raises(Leave) as leaving, shift.running():
        os.kill(os.getpid(), signal.SIGUSR2)
    assert leaving.value.code == GO_ON_LATER


def test_an_error_in_a_run_is_the_runs_own(job):
    with pytest.raises(ValueError, match="its own"), job(5000).running():
        raise ValueError("its own")


def test_an_error_that_slurms_end_of_the_job_caused_is_not(job, monkeypatch):
    """The engine's process gets the signal first and its run breaks; ours comes a moment later."""
    shift = job(5000)
    monkeypatch.setattr(module.time, "sleep", lambda seconds: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Leave), shift.running():
        raise RuntimeError("the engine's process is gone")
