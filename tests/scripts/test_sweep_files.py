"""Every sweep file opens with its command, its place in the paper and its number of runs, and expands to these."""

import re
from pathlib import Path

import pytest

from della.outcomes import EXPERT_BENCHMARK
from scripts.points import Point, first_stage, second_stage
from scripts.schema import RunConfig
from tests.della.synthetic import record
from tests.scripts.test_configs import composed as compose

SWEEPS = Path(__file__).resolve().parents[2] / "configs" / "sweep"
NAMES = sorted(
    path.stem for path in SWEEPS.glob("*.yaml") if path.stem != "none" and not path.stem.startswith("search")
)
COUNT = r"(\d+)(?: \+ (\d+) chosen)?"
FOLDERS = ("experts=folders", "experts.base=b", *(f"++experts.models.{name}={name}" for name in EXPERT_BENCHMARK))
PAPER = {
    "main_table": "Table 1",
    "rescale_merge": "Table 2",
    "rescale_expert": "Table 3",
    "no_elect": "Table 4",
    "wanda": "Table 5",
    "pruning": "Table 6 and Figure 3",
    "drop_rate": "Table 7",
    "lambda": "Figure 4",
    "adaptive_lambda": "Figure 5",
    "rank_over": "Figure 6",
}
PARAMETERS = ("dev_limit", "test_limit", "family_seeds", "merges", "drop_rates", "lambdas", "epsilons", "seeds")


def composed(*overrides: str) -> RunConfig:
    return compose("run", *overrides)


def ran(point: Point) -> dict:
    """A record of a point that chooses; one prompt of each benchmark, the same whatever the point."""
    scores = {EXPERT_BENCHMARK[expert]: [1.0] for expert in point.merge}
    more = {name: value for name, value in point.method_config.items() if name != "name"}
    where = {"seed": point.seed, "split": point.split, "limit": point.limit, "family_seed": point.family_seed}
    return record(point.merge, point.method, scores, **where, **more)


def test_there_is_a_sweep_for_every_table_and_figure_of_the_paper_and_ours():
    assert set(NAMES) >= {*PAPER, "epsilon", "seeds"}


@pytest.mark.parametrize("name", NAMES)
def test_a_sweep_opens_with_its_command_and_the_place_in_the_paper(name):
    head = (SWEEPS / f"{name}.yaml").read_text().partition("hydra:")[0]
    assert f"#   python -m scripts.run -m sweep={name}\n" in head
    assert PAPER.get(name, "Ours: the paper has") in head
    assert composed(f"sweep={name}").sweep.name == name


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_of_a_sweep_says_whether_it_is_the_papers_or_ours(name):
    lines = re.findall(rf"^  ({'|'.join(PARAMETERS)}):(.*)$", (SWEEPS / f"{name}.yaml").read_text(), re.MULTILINE)
    assert lines or name == "main_table"
    unsaid = [key for key, text in lines if not re.search(r"# .*(ours|the paper's|every test prompt)", text)]
    assert unsaid == []


# Worked by hand, per training seed. main_table: 4 merges x (ta_elect 5 lambdas + dare_elect, ties, della, dare and
# dare_ties 25 points each + average 1 + task_arithmetic 5) + 4 models = 548; chosen: 4 x (4 methods that draw nothing +
# 4 x 5 seeds). rescale_merge: 2 methods x 3 scalings x 2 rates x 5 seeds = 60. rescale_expert: 2 x 2 x 5 x 5 + 1 = 101.
# no_elect: 4 x 4 methods x 5 lambdas x 2 = 160; chosen: 4 x 2 x (2 + 2 x 5 seeds) = 96. wanda: 4 x 5 x 5 = 100; chosen:
# 4 x (2 + 3 x 5) = 68. pruning: 3 experts x 4 variants x 6 rates x 5 seeds = 360, of Math alone 2 variants x 6 x 5 = 60
# and 6 variants x 4 high rates x 5 = 120, 4 models. drop_rate: 4 x 5 x 5 = 100. lambda: 10 x (2 + 2 x 5) = 120.
# adaptive_lambda: 4 x 3 methods x (5 lambdas + 1) = 72; chosen: 4 x 2 x (1 + 2 x 5) = 88. rank_over: 4 x 2 rates x 2 x
# 3 seeds = 48. epsilon: 4 x 12 x 3 + 4 = 148. seeds: 2 rates x (2 x 10 + 1) + 1 + 4 = 47.
HAND = {
    "main_table": (548, 96),
    "rescale_merge": (60, 0),
    "rescale_expert": (101, 0),
    "no_elect": (160, 96),
    "wanda": (100, 68),
    "pruning": (544, 0),
    "drop_rate": (100, 0),
    "lambda": (120, 0),
    "adaptive_lambda": (72, 88),
    "rank_over": (48, 0),
    "epsilon": (148, 0),
    "seeds": (47, 0),
    "common_numbers": (240, 0),
}


@pytest.mark.parametrize("folders", [False, True], ids=["tiny", "folders"])
@pytest.mark.parametrize("name", NAMES)
def test_a_sweep_expands_to_its_stated_number_of_runs_without_repeats(name, folders):
    """A family of folders has no training seeds: what the file says of three counts once."""
    (stated,) = re.findall(rf"^# Runs: tiny {COUNT}, folders {COUNT}\.$", (SWEEPS / f"{name}.yaml").read_text(), re.M)
    counts = tuple(int(text or 0) for text in stated)
    config = composed(f"sweep={name}", *(FOLDERS if folders else ()))
    first = first_stage(config)
    second = second_stage(config, [ran(point) for point in first if point.split == "dev"])
    found = (len(first), len(second))
    assert found == counts[2 * folders : 2 * folders + 2]
    families = 1 if folders else len(config.sweep.family_seeds or [0])
    assert found == tuple(families * count for count in HAND[name])
    assert len({point.key for point in first + second}) == sum(found)


@pytest.mark.parametrize("name", NAMES)
def test_a_sweep_of_a_family_of_folders_runs_each_point_once(name):
    """Without training seeds nothing but the mask seed and the point may tell two runs apart."""
    points = first_stage(composed(f"sweep={name}", *FOLDERS))
    assert {point.family_seed for point in points} == {0}
    assert len({(p.merge, str(p.method_config), p.seed, p.split, p.on) for p in points}) == len(points)


def test_choosing_on_test_runs_the_search_of_every_sweep_on_the_test_split():
    for name in NAMES:
        assert {point.split for point in first_stage(composed(f"sweep={name}", "select=test"))} == {"test"}
