"""The wall-clock of a sweep: who takes which run when, worked by hand."""

import pytest

from scripts.planning.clock import schedule


def test_a_free_worker_takes_the_next_run():
    """Two workers start in 5 s; three runs of 10 s: 5-15, 5-15, 15-25. Busy 2 x 5 + 3 x 10; one waits 10 s for the
    other."""
    clock = schedule([[(0, 10.0)] * 3], workers=2, start=5.0, switch=5.0)
    assert (clock.wall, clock.busy, clock.starts, clock.idle) == (25.0, 40.0, 2, 10.0)


def test_a_stage_begins_when_the_one_before_is_done():
    """As above, then one run more at 25: it ends at 35, whoever takes it."""
    assert schedule([[(0, 10.0)] * 3, [(0, 10.0)]], 2, 5.0, 5.0).wall == 35.0


def test_another_family_opens_the_engine_again():
    """One worker: 5 + 10, then 3 + 10."""
    clock = schedule([[(0, 10.0), (1, 10.0)]], 1, 5.0, 3.0)
    assert (clock.wall, clock.starts) == (28.0, 2)


def test_workers_begin_at_different_places_so_that_each_has_a_family_of_its_own():
    """Two workers, two families of three runs: each opens one engine, 5 + 3 x 10."""
    clock = schedule([[(0, 10.0)] * 3 + [(1, 10.0)] * 3], 2, 5.0, 5.0)
    assert (clock.wall, clock.starts) == (35.0, 2)


def test_a_family_without_a_training_seed_is_one_too():
    assert schedule([[(None, 10.0)] * 2], 1, 5.0, 3.0).wall == 25.0


def test_workers_beyond_the_runs_are_never_started():
    clock = schedule([[(0, 10.0)] * 2], 8, 5.0, 5.0)
    assert (clock.wall, clock.busy, clock.starts) == (15.0, 30.0, 2)


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_no_schedule_is_shorter_than_its_work_shared_out(workers):
    """100 runs of 1 to 100 s are 5,050 s of work."""
    wall = schedule([[(0, float(n)) for n in range(1, 101)]], workers, 0.0, 0.0).wall
    assert 5050 / workers <= wall <= 5050 / workers + 100
