"""What makes no sense in a sweep is refused in one line before anything loads."""

import pytest

from della.errors import InputError
from della.record import load_records
from scripts.points import ignored
from tests.scripts.test_sweep_files import FOLDERS, composed

# What is typed, and what the answer must say.
MISTAKES = {
    "a value twice": (
        "sweep=drop_rate sweep.drop_rates=[0.5,0.7,0.5]",
        r"sweep\.grids\.della\.options\.drop_rate=\[0\.5,0\.7,0\.5\]: 0\.5 is there twice; write it once",
    ),
    "a mask seed twice": ("sweep=seeds sweep.seeds=[1,2,1]", r"sweep\.seeds=\[1,2,1\]: 1 is there twice"),
    "a training seed twice": ("sweep=seeds sweep.family_seeds=[0,0]", r"sweep\.family_seeds=\[0,0\]: 0 is there twice"),
    "a merge twice, in another order": (
        "sweep=no_elect sweep.merges=[[lm,math],[math,lm]]",
        r"sweep\.grids\.ta_elect\.merge=.*\[lm,math\] is there twice",
    ),
    "an expert twice": ("sweep=no_elect sweep.merges=[[lm,lm]]", r"merge=\[lm,lm\]: lm is there twice"),
    "an expert that is not there": ("sweep=lambda sweep.merges=[[lm,mth]]", "'mth': the experts are lm, math, code"),
    "an expert that the hub's family has not": (
        "sweep=drop_rate experts=wizardcoder_13b",
        r"there is no expert 'lm': the experts are code",
    ),
    "no value": ("sweep=drop_rate sweep.lambdas=[]", r"options\.lambda_=\[\]: write at least one value"),
    "no mask seed": ("sweep=lambda sweep.seeds=[]", r"sweep\.seeds=\[\]: sweep\.grids\.dare_elect drops at random"),
    "a window beyond the bounds": (
        "sweep=drop_rate sweep.drop_rates=[0.5,0.95]",
        r"sweep\.grids\.della: method della: drop_rate 0\.95 with epsilon 0\.14 breaks drop_rate \+ epsilon/2 < 1",
    ),
    "a drop rate beyond the bounds": (
        "sweep=lambda sweep.drop_rates=[1.0]",
        r"sweep\.grids\.dare_elect: .*drop_rate is 1",
    ),
    "widths of a window at drop rate 0": (
        "sweep=epsilon sweep.grids.p05.options.drop_rate=[0.0]",
        r"sweep\.grids\.p05: .*drop_rate 0 with epsilon 0\.14 breaks drop_rate - epsilon/2 >= 0",
    ),
    "rescaling where nothing is dropped": (
        "sweep=rescale_expert sweep.drop_rates=[0.0,0.5]",
        r"sweep\.grids\.dare: rescale=per_parameter changes nothing for math: at drop_rate 0 nothing is dropped",
    ),
    "ranks without a window": (
        "sweep=rank_over sweep.epsilons=[0.0]",
        r"rank_over=row changes nothing for lm\+math: at epsilon 0 every drop probability is drop_rate; leave it out",
    ),
    "election of one expert": (
        "sweep=no_elect sweep.merges=[[math]]",
        r"sweep\.grids\.ta_elect_off: elect=false changes nothing for math: with one expert there is nothing to elect",
    ),
    "the same block twice": (
        "sweep=no_elect sweep.grids.ties_off.options.elect=[true]",
        r"sweep\.grids\.ties_off: lm\+math ties .* is in sweep\.grids\.ties already",
    ),
    "a merge of nothing": ("sweep=lambda sweep.merges=[[]]", "method ta_elect takes at least one expert"),
    "a merge without a method": (
        "sweep=rescale_expert sweep.grids.single.merge=[[lm,math]]",
        r"sweep\.grids\.single\.merge=\[\[lm,math\]\]: unmerged takes one expert each",
    ),
    "a choice of nothing": ("sweep=seeds sweep.grids.single.choose=true", "unmerged has nothing to choose"),
    "a merge that nothing measures": (
        "sweep=pruning benchmarks=[gsm8k]",
        r"sweep\.grids\.dare: benchmarks=\[gsm8k\] holds none of lm; add one, or leave that merge out",
    ),
    "a choice without a benchmark of an expert": (
        "sweep=no_elect benchmarks=[gsm8k]",
        r"sweep\.grids\.ta_elect chooses by .* is without alpaca_eval; add it, or leave lm\+math out",
    ),
    "an option that the method does not have": (
        "sweep=lambda ++sweep.grids.ties.options.epsilon=[0.1]",
        r"sweep\.grids\.ties: method ties has no option 'epsilon'",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_sweep_that_makes_no_sense_is_refused(name):
    typed, said = MISTAKES[name]
    with pytest.raises(InputError, match=said) as caught:
        composed(*typed.split())
    assert "\n" not in str(caught.value)


def test_a_meaningless_sweep_ends_as_one_line_with_exit_code_2_and_writes_nothing(call, tmp_path):
    ended = call("run", "-m", "sweep=rank_over", "sweep.epsilons=[0.0]", f"paths.work={tmp_path / 'new'}")
    assert ended.code == 2
    assert ended.err.startswith("error: sweep.grids.della: rank_over=row changes nothing")
    assert ended.err.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_two_sweeps_at_once_are_refused(call):
    ended = call("run", "-m", "sweep=no_elect,wanda")
    assert ended.code == 2
    assert "one sweep at a time" in ended.err


def test_the_experts_of_folders_are_those_that_are_named():
    assert composed("sweep=lambda", *FOLDERS).sweep.merges == [["math", "code"]]
    with pytest.raises(InputError, match="there is no expert 'code': the experts are lm, math"):
        composed("sweep=lambda", "experts=folders", "++experts.models.lm=a", "++experts.models.math=b")


def test_training_seeds_of_a_family_of_folders_are_ignored_and_that_is_said():
    assert ignored(composed("sweep=pruning")) is None
    assert ignored(composed("sweep=no_elect", *FOLDERS)) is None
    assert ignored(composed("sweep=pruning", *FOLDERS)) == (
        "sweep.family_seeds=[0, 1, 2] is ignored: experts=folders is not trained by a recipe"
    )


def test_what_a_sweep_shares_between_blocks_of_different_kinds_is_allowed():
    """The base is in no merge, an expert alone has one benchmark, and all of them may be asked of it."""
    assert composed("sweep=seeds", "sweep.merges=[]").sweep.grids["single"].on == "all"
    assert composed("sweep=pruning", "benchmarks=[gsm8k]", "sweep.merges=[[math]]", "sweep.grids.single.on=all")


def test_a_family_of_folders_runs_a_sweep_of_three_training_seeds_once_and_reports_it(call, pico, work):
    """rank_over of one merge at one drop rate with one mask seed: rows and tensors, two runs."""
    family = ["experts=folders", f"experts.base={pico.base}", f"experts.data={pico.data}", "experts.prompts=tiny"]
    family += [f"experts.models.{name}={folder}" for name, folder in pico.models.items()]
    small = ["sweep=rank_over", "sweep.merges=[[lm,math]]", "sweep.drop_rates=[0.5]", "sweep.seeds=[1]"]
    small += ["sweep.test_limit=2", "experts.max_new_tokens=4", "engine=hf", "tracking=none", f"paths.work={work}"]
    ended = call("run", *family, *small)
    assert ended.code == 0
    assert "2 runs, 2 executed, 0 done before, 0 failed" in ended.out
    assert "note: sweep.family_seeds=[0, 1, 2] is ignored: experts=folders is not trained by a recipe\n" in ended.err
    assert {record["config"]["family_seed"] for record in load_records(work / "records")} == {None}
    reported = call("report", *family, *small)
    assert reported.code == 0
    assert "| DELLA, row - DELLA, tensor | LM+Math" in reported.out
    assert (work / "reports" / "folders" / "rank_over" / "rank_over.png").is_file()
