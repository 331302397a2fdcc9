"""Every YAML file composes against the strict schema; what changes a run's identity."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from della.errors import InputError
from scripts.door import prepare
from scripts.points import first_stage
from scripts.run import single_point
from scripts.schema import ROOTS
from scripts.session import Session

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
GROUPS = sorted(
    path.relative_to(CONFIGS)
    for path in CONFIGS.rglob("*.yaml")
    if path.parent != CONFIGS and "hydra" not in path.parts
)


def composed(root: str, *overrides: str):
    prepare()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        return OmegaConf.to_object(compose(root, overrides=list(overrides)))


@pytest.mark.parametrize("root", sorted(ROOTS))
def test_every_script_has_a_root_that_composes_to_its_dataclass(root):
    given = {"evaluate": ["model=m"], "merge": ["out=o"], "score": ["benchmark=gsm8k", "samples=s"]}
    assert type(composed(root, *given.get(root, []))) is ROOTS[root]


@pytest.mark.parametrize("path", GROUPS, ids=str)
def test_every_file_of_every_group_composes(path):
    group, name = path.parent.as_posix(), path.stem
    config = composed("run", f"{group}=[{name}]" if group == "benchmarks" else f"{group}={name}")
    assert getattr(config, group) is not None


def test_the_local_launcher_starts_one_process_per_worker():
    prepare()
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        config = compose("run", overrides=["hydra/launcher=local", "workers=3"], return_hydra_config=True)
    assert config.hydra.launcher.n_jobs == 3


def test_a_meaningless_combination_in_a_sweep_is_refused_before_anything_runs():
    with pytest.raises(InputError, match=r"drop_rate 0\.05 .*epsilon 0\.14"):
        first_stage(composed("run", "sweep=main_table", "sweep.drop_rates=[0.05]"))


def test_an_option_that_a_method_of_a_sweep_does_not_have_is_refused():
    with pytest.raises(InputError, match="epsilon"):
        first_stage(composed("run", "sweep=main_table", "+sweep.grids.ties.options.epsilon=[0.1]"))


@pytest.mark.parametrize(
    "change", ["engine.max_model_len=256", "engine.dtype=bfloat16", "experts.max_new_tokens=7", "limit=3"]
)
def test_what_can_change_an_outcome_changes_the_identity(change, work):
    plain = ("experts=tiny_pico", "experts.merge=[]", "method=unmerged", f"paths.work={work}")
    made = [Session(composed("run", *plain, *more)) for more in ((), (change,), ())]
    first, changed, again = (session.identity(single_point(session.config, [])) for session in made)
    assert first == again != changed


def test_another_protocol_is_another_run_and_dellas_own_the_same(work):
    """Said or not said, protocol=della leaves a run what it was; its record names the prompts alone."""
    plain = ("experts=tiny_pico", "experts.prompts=wizard_13b", "experts.merge=[]", "method=unmerged")
    protocols = ((), ("experts.protocol=della",), ("experts.protocol=fixed",), ("experts.protocol=dare",))
    made = [Session(composed("run", *plain, f"paths.work={work}", *more)) for more in protocols]
    said = [session.describe(single_point(session.config, []))["config"] for session in made]
    absent, della, fixed, dare = (session.identity(single_point(session.config, [])) for session in made)
    assert absent == della
    assert len({della, fixed, dare}) == 3
    assert said[0] == said[1] == said[2] | {"prompts": "wizard_13b"} == said[3] | {"prompts": "wizard_13b"}
