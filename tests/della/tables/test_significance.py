import math

import pytest
from scipy import stats

from della.outcomes import read_runs
from della.study import Study
from della.tables.significance import freedom, p_value
from tests.della.tables.ablations import run

MERGE = ["math", "code"]
ONE, OTHER = ("one", "gsm8k"), ("other", "gsm8k")
TERMS = {ONE: 1.0, OTHER: -1.0}


def study(one: dict, other: dict) -> Study:
    """Cells of DELLA and TA on Math+Code: (training seed, mask seed) -> prompts of 100 that are right."""
    records = [
        run(MERGE, "della", count, seed=seed, family_seed=family, drop_rate=0.5)
        for (family, seed), count in one.items()
    ]
    records += [run(MERGE, "ta_elect", count, seed=None, family_seed=family) for (family, _), count in other.items()]
    cells: dict = {"one": [], "other": []}
    for found in read_runs(records):
        cells["one" if found.method == "della" else "other"].append(found)
    return Study(cells)


def p_of(found: Study) -> float:
    estimate = found.estimate(TERMS)
    assert estimate is not None
    return p_value(found, TERMS, estimate)


def test_with_one_mask_only_prompts_vary_and_p_is_the_normal_ones():
    """10 of 100 prompts differ, all one way: error sqrt(0.1 x 0.9 / 100) = 0.03, z = 3.33, p = 0.00086."""
    found = study({(0, 1): 60}, {(0, None): 50})
    estimate = found.estimate(TERMS)
    assert freedom(found, TERMS, estimate) == math.inf
    assert p_of(found) == pytest.approx(2 * stats.norm.sf(abs(estimate.value) / estimate.error))
    assert p_of(found) == pytest.approx(0.00086, rel=0.3)


def test_few_masks_leave_few_degrees_of_freedom():
    """Masks at 20 and 100 of 100 against 50: nearly all of the error is theirs, sd 0.566 / sqrt(2) = 0.4 with one
    degree of freedom: t = 0.1 / 0.4, p = 0.84. Two masks that agree leave the prompts' p."""
    far = study({(0, 1): 20, (0, 2): 100}, {(0, None): 50})
    estimate = far.estimate(TERMS)
    assert freedom(far, TERMS, estimate) == pytest.approx(1.0, abs=0.2)
    assert p_of(far) == pytest.approx(0.84, abs=0.05)
    near = study({(0, 1): 60, (0, 2): 60}, {(0, None): 50})
    assert freedom(near, TERMS, near.estimate(TERMS)) == math.inf


def test_training_seeds_count_as_one_each():
    """Differences 10, 20 and 50 points of three families: mean 26.7, sd 20.8, error at least 12.0, two degrees of
    freedom or a little more: p of t = 26.7 / 12.0 is 0.16."""
    found = study({(f, 1): 50 + d for f, d in enumerate((10, 20, 50))}, {(f, None): 50 for f in range(3)})
    estimate = found.estimate(TERMS)
    assert estimate.value == pytest.approx(0.8 / 3)
    assert 2 <= freedom(found, TERMS, estimate) < 3.5
    assert 0.1 < p_of(found) < 0.3


def test_no_difference_on_any_prompt_is_no_finding_and_one_on_all_is_one():
    assert p_of(study({(0, 1): 50}, {(0, None): 50})) == 1.0
    assert 0 < p_of(study({(0, 1): 100}, {(0, None): 0})) < 1e-20
