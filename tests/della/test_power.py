"""What can be told apart: the exact test's power, and the smallest difference it finds."""

import math

import numpy as np
import pytest
from scipy import stats

from della.paired import mcnemar
from della.power import mcnemar_power, minimum_detectable, rejected_up_to
from della.statistics import DETECTABLE


def test_the_rejection_limits_by_hand():
    """2 P(X <= k): 5 coins 2/32 > 0.05; 6 coins 2/64; 8 coins, k = 1: 18/256 > 0.05; 9 coins, k = 1: 20/512 < 0.05."""
    assert rejected_up_to(np.array([0, 5, 6, 8, 9])).tolist() == [-1, -1, 0, 0, 1]


def test_the_rejection_limits_are_those_of_the_exact_test():
    for m in range(1, 120):
        limit = int(rejected_up_to(np.array([m]))[0])
        assert limit < 0 or mcnemar(limit, m - limit) <= 0.05
        assert mcnemar(limit + 1, m - limit - 1) > 0.05


def test_power_by_hand():
    """All 6 prompts won by one run: 6 to 0 is always significant; 5 to 0 never is. Discordance 1/2 and difference 1/2:
    all discordant prompts go one way, so the power is P(Binomial(8, 1/2) >= 6) = 37 / 256."""
    assert mcnemar_power(6, 1.0, 1.0) == pytest.approx(1.0)
    assert mcnemar_power(5, 1.0, 1.0) == 0.0
    assert mcnemar_power(8, 0.5, 0.5) == pytest.approx(37 / 256)
    assert mcnemar_power(8, 0.0, 0.0) == 0.0


def test_power_does_not_depend_on_the_direction_and_without_a_difference_is_at_most_the_level():
    assert mcnemar_power(300, 0.2, 0.06) == mcnemar_power(300, 0.2, -0.06)
    for n, discordance in ((50, 0.1), (500, 0.05), (1319, 0.3)):
        assert mcnemar_power(n, discordance, 0.0) <= 0.05


def test_a_difference_larger_than_the_discordance_is_refused():
    with pytest.raises(ValueError, match="at least that discordance"):
        mcnemar_power(100, 0.1, 0.2)


@pytest.mark.parametrize("n", [100, 500, 805, 1319])
@pytest.mark.parametrize("discordance", [0.0, 0.02, 0.1, 0.3, 1.0])
def test_the_power_at_the_smallest_detectable_difference_is_80_percent(n, discordance):
    found = minimum_detectable(n, discordance)
    assert mcnemar_power(n, max(discordance, found), found) == pytest.approx(0.8, abs=1e-4)


def test_without_discordance_six_wins_are_needed_four_times_out_of_five():
    """P(Binomial(n, d) >= 6) = 0.8: about 7.9 prompts of n."""
    for n in (100, 1319):
        found = minimum_detectable(n, 0.0)
        assert stats.binom.sf(5, n, found) == pytest.approx(0.8, abs=1e-4)
        assert n * found == pytest.approx(7.9, abs=0.2)


@pytest.mark.parametrize(("n", "discordance"), [(500, 0.3), (805, 0.4), (1319, 0.2)])
def test_for_many_discordant_prompts_it_is_2_80_standard_errors(n, discordance):
    """sqrt(discordance / n) is the standard error without a difference; the exact test asks for a little more."""
    expected = DETECTABLE * math.sqrt(discordance / n)
    assert expected < minimum_detectable(n, discordance) < 1.05 * expected


def test_a_benchmark_of_five_prompts_detects_nothing():
    assert minimum_detectable(5, 0.5) is None
    assert minimum_detectable(6, 0.5) is not None
