"""A user's mistake ends as one line, `error: what, where, what to write instead`, exit code 2, and nothing written."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]
MERGE = "experts.base={base} experts.models.lm={lm} experts.models.math={math} out=merged "
PICO = "experts=tiny_pico engine=hf tracking=none paths.work={work} "
MODEL = "model={lm} engine=hf data={data} prompts=tiny "

# What is typed, and what the answer must say.
MISTAKES = {
    "a misspelt option": ("merge", MERGE + "method.epsilonn=0.1", "did you mean method.epsilon?"),
    "a misspelt option of the script": ("merge", MERGE + "sed=1", "did you mean seed?"),
    "a misspelt group": ("merge", MERGE + "methd=ties", "did you mean method?"),
    "a misspelt option in a sweep": ("run", "sweep=seeds sweep.grids.ties.choos=true", "sweep.grids.ties.choose?"),
    "lambda without its underscore": ("merge", MERGE + "method.lambda=1", "did you mean method.lambda_?"),
    "an option added with a plus": ("merge", MERGE + "+sed=1", "write sed=VALUE, without +"),
    "an option taken away": ("merge", MERGE + "~seed", "write seed=VALUE, without + and ~"),
    "an unknown flag": ("merge", MERGE + "-x", "-x: no such flag"),
    "no value": ("merge", MERGE + "seed", "seed: cannot be read; write key=value"),
    "an unbalanced bracket": ("merge", MERGE + "seed=1]", "seed=1]: cannot be read"),
    "two values": ("merge", MERGE + "seed=1,2", "write one value"),
    "a word for a whole number": ("merge", MERGE + "seed=one", "seed=one: write a whole number"),
    "a fraction for a whole number": ("run", "limit=1.5", "limit=1.5: write a whole number"),
    "a word for a number": ("merge", MERGE + "method.drop_rate=half", "method.drop_rate=half: write a number"),
    "a word for a switch": ("merge", MERGE + "method.elect=maybe", "method.elect=maybe: write true or false"),
    "a word for a list": ("run", "experts.merge=lm", "experts.merge=lm: write a list"),
    "a list of words for numbers": ("experts", "seeds=[a]", "seeds=[a]: write a whole number"),
    "epsilon too wide below": (
        "merge",
        MERGE + "method.drop_rate=0.1 method.epsilon=0.3",
        "drop_rate - epsilon/2 >= 0",
    ),
    "epsilon too wide above": ("merge", MERGE + "method.drop_rate=0.9 method.epsilon=0.2", "drop_rate + epsilon/2 < 1"),
    "a negative epsilon": ("merge", MERGE + "method.epsilon=-0.1", "a number >= 0"),
    "a drop rate of one": ("merge", MERGE + "method.drop_rate=1", ">= 0 and < 1"),
    "a drop rate that is no number": ("merge", MERGE + "method.drop_rate=nan", "write a finite number"),
    "an unknown way to rank": ("merge", MERGE + "method.rank_by=size", "write one of magnitude, random"),
    "an unknown method": ("merge", MERGE + "method=dela", "method=dela: no such choice; did you mean della?"),
    "a method unlike any": ("merge", MERGE + "method=x", "write one of average, linear"),
    "another method's option": ("merge", MERGE + "method=ties method.epsilon=0.1", "no such option of method ties"),
    "nothing to merge": ("merge", MERGE + "method=unmerged", "method=unmerged merges nothing"),
    "an unknown dtype": ("merge", MERGE + "dtype=int8", "write one of float32, bfloat16, float16"),
    "a shard of no size": ("merge", MERGE + "max_shard_gb=0", "max_shard_gb=0: write a number above 0"),
    "no out": ("merge", "experts.base={base} experts.models.lm={lm}", "out is not set"),
    "no base": ("merge", "experts.models.lm={lm} out=merged", "write experts.base=DIR"),
    "no expert": ("merge", "experts.base={base} out=merged", "write experts.models.NAME="),
    "an expert that is not in the family": ("merge", MERGE + "experts.merge=[lm,mth]", "'mth'"),
    "a missing base folder": ("merge", "experts.base=nix experts.models.lm={lm} out=merged", "nix: no such folder"),
    "a missing expert folder": ("merge", MERGE + "experts.models.code=nix", "nix: no such folder"),
    "a folder that is no model": ("merge", MERGE + "experts.models.code={data}", "config.json: no such file"),
    "an expert of another shape": ("merge", MERGE + "experts.models.code={reshaped}", "[31, 64] where the base has"),
    "an expert with another tensor": ("merge", MERGE + "experts.models.code={renamed}", "unknown to the base"),
    "a truncated expert": ("merge", MERGE + "experts.models.code={truncated}", "cut short; download it again"),
    "an expert with a broken config": ("merge", MERGE + "experts.models.code={unreadable}", "not valid JSON"),
    "NaN in an expert": (
        "merge",
        MERGE + "experts.models.code={nan}",
        "expert code ({nan}): model.norm.weight holds NaN",
    ),
    "an out that exists": ("merge", MERGE.replace("merged", "{lm}"), "is there already"),
    "an out that cannot be made": ("merge", MERGE.replace("merged", "/proc/merged"), "cannot be created"),
    "two sweeps": ("run", "-m sweep=main_table,pruning", "one sweep at a time"),
    "two sweeps as a list": ("run", "-m sweep=[main_table,pruning]", "one sweep at a time"),
    "two sweeps in a row": ("run", "-m sweep=main_table sweep=pruning", "one sweep at a time"),
    "an unknown sweep": ("run", "-m sweep=main_tabel", "did you mean main_table?"),
    "a sweep that chooses on nothing": ("run", "-m sweep=main_table sweep.dev_limit=0", "write a whole number from 1"),
    "a sweep by no worker": ("run", "-m sweep=main_table workers=0", "workers=0: write a whole number from 1"),
    "a sweep with a meaningless point": ("run", PICO + "sweep=seeds sweep.drop_rates=[0.01]", "drop_rate 0.01"),
    "a sweep with another method's option": (
        "run",
        PICO + "sweep=seeds sweep.grids.ties.options.epsilon=[0.1]",
        "method ties has no option 'epsilon'",
    ),
    "a sweep over an expert that is not there": ("run", PICO + "sweep=seeds sweep.merges=[[lm,mth]]", "'mth'"),
    "no prompts": ("run", PICO + "limit=0", "limit=0: write a whole number from 1"),
    "an unknown split": ("run", PICO + "split=train", "split=train: write one of dev, test"),
    "an unknown way to choose": ("run", PICO + "select=train", "select=train: write one of dev, test"),
    "an unknown benchmark": (
        "run",
        PICO + "benchmarks=[gsm8k,mbp]",
        "benchmarks=mbp: no such choice; did you mean mbpp?",
    ),
    "no benchmark": ("run", PICO + "benchmarks=[]", "benchmarks=[]: name at least one"),
    "an unknown recipe": ("run", PICO + "experts.recipe=big", "write one of full, minute, pico"),
    "an unknown family": ("run", "experts=tinny", "experts=tinny: no such choice; did you mean tiny?"),
    "unknown prompts": ("run", PICO + "experts.prompts=tini", "write one of wizard_13b, tiny"),
    "an expert that cannot be run": ("run", PICO + "experts.merge=[mth]", "the experts are code, lm, math"),
    "a merge of nothing": ("run", PICO + "experts.merge=[]", "method=unmerged"),
    "several models unmerged": ("run", PICO + "method=unmerged", "experts.merge=[ONE]"),
    "an unknown engine": ("run", PICO + "engine=hg", "engine=hg: no such choice; write one of hf, openai, vllm"),
    "an unknown dtype of an engine": ("run", PICO + "engine.dtype=int8", "write float32, bfloat16 or float16"),
    "an unknown setting of an engine": ("run", PICO + "engine.batchsize=8", "did you mean engine.batch_size?"),
    "a setting of a wrong type": ("run", PICO + "engine.batch_size=big", "engine.batch_size=big: write a whole number"),
    "a setting of another engine": ("run", PICO + "engine.max_num_seqs=8", "engine=hf does not know it, only vllm"),
    "a server without its address": ("run", PICO + "engine=openai engine.url=null", "engine=openai needs one"),
    "an unknown judge": ("run", PICO + "judge=gpt", "judge=gpt: no such choice; write one of alpaca_eval_gpt4"),
    "a judge without its file": ("run", PICO + "judge=annotations", "judge.file=FILE"),
    "a judge whose file is missing": ("run", PICO + "judge=annotations judge.file=nix.json", "nix.json"),
    "an unknown mode of W&B": ("run", PICO + "tracking.mode=of", "write one of offline, online, disabled"),
    "no data for folders": ("run", "experts=folders engine=hf " + MERGE.replace("out=merged", ""), "DELLA_DATA_DIR"),
    "no model to evaluate": ("evaluate", "engine=hf", "model is not set"),
    "a missing model": ("evaluate", MODEL + "model=nix", "nix: no such folder"),
    "outcomes into no folder": ("evaluate", MODEL + "out=nix/out.json", "out=nix/out.json: nix is no folder"),
    "outcomes into a folder": ("evaluate", MODEL + "out=.", "out=.: this is a folder"),
    "a sweep's plan into no folder": ("plan", "sweep=main_table out=nix/plan.json", "nix is no folder"),
    "no data": ("evaluate", "model={lm} engine=hf", "DELLA_DATA_DIR"),
    "a missing data folder": ("evaluate", MODEL + "data=nix", "nix: no such folder of benchmark data"),
    "data without the benchmark": ("evaluate", MODEL + "data={lm}", "gsm8k"),
    "no prompts to evaluate on": ("evaluate", MODEL + "limit=0", "limit=0: write a whole number from 1"),
    "an unknown benchmark to evaluate": ("evaluate", MODEL + "benchmarks=[gsm9k]", "did you mean gsm8k?"),
    "unknown prompts to evaluate with": ("evaluate", MODEL + "prompts=tini", "prompts=tini: write one of"),
    "nothing to report": ("report", "", "write sweep=NAME or records=FILE.jsonl"),
    "a sweep that was not run": ("report", "sweep=seeds paths.work=new", "new/records: no records yet"),
    "a file as work folder": (
        "run",
        PICO + "paths.work={lm}/config.json",
        "name a folder that you may write to",
    ),
    "missing records": ("report", "records=nix.jsonl", "nix.jsonl"),
    "no family to make": ("experts", "experts=folders", "write experts.base=DIR"),
}


@pytest.fixture(scope="module")
def named(pico, tmp_path_factory) -> dict[str, Path]:
    """The folders that the commands above name, broken experts among them."""
    broken = tmp_path_factory.mktemp("broken")
    code = pico.models["code"]
    weights = load_file(code / "model.safetensors")
    embedding = weights["model.embed_tokens.weight"]
    nan = weights["model.norm.weight"].clone()
    nan[3] = torch.nan
    width = {name: tensor[:31] for name, tensor in weights.items() if name.endswith("layers.0.mlp.down_proj.weight")}
    assert embedding.dim() == 2
    assert [tuple(tensor.shape) for tensor in width.values()] == [(31, 64)]
    changed = {
        "reshaped": weights | {name: tensor.contiguous() for name, tensor in width.items()},
        "renamed": weights | {"lora_A.weight": nan},
        "nan": weights | {"model.norm.weight": nan},
    }
    for name, tensors in changed.items():
        shutil.copytree(code, broken / name)
        save_file(tensors, broken / name / "model.safetensors", metadata={"format": "pt"})
    shutil.copytree(code, broken / "truncated")
    file = broken / "truncated" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1000])
    shutil.copytree(code, broken / "unreadable")
    (broken / "unreadable" / "config.json").write_text('{"architectures": [')
    models = {"base": pico.base, **pico.models, "data": pico.data, "work": pico.folder.parent.parent}
    return models | {folder.name: folder for folder in broken.iterdir()}


def everything_in(folder: Path) -> dict[str, int]:
    """Every folder below, and every file with its modification time."""
    return {str(path): 0 if path.is_dir() else path.stat().st_mtime_ns for path in folder.rglob("*")}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_that_says_what_to_write_and_leaves_nothing_behind(mistake, call, named, tmp_path):
    script, typed, told = MISTAKES[mistake]
    before = everything_in(named["work"]), everything_in(tmp_path), everything_in(named["nan"].parent)
    ended = call(script, *typed.format(**named).split())
    assert ended.err.startswith("error: ")
    assert ended.err.count("\n") == 1
    assert told.format(**named) in ended.err
    assert (ended.code, ended.out) == (2, "")
    assert (everything_in(named["work"]), everything_in(tmp_path), everything_in(named["nan"].parent)) == before


def test_a_tilde_in_a_path_is_the_home_folder(call, named, monkeypatch):
    """No shell expands it behind an equals sign."""
    monkeypatch.setenv("HOME", str(named["lm"].parent))
    ended = call("merge", f"experts.base={named['base']}", "experts.models.lm=~/lm", "out=~/lm")
    assert ended.err.startswith(f"error: {named['lm']}: is there already")


@pytest.mark.parametrize("script", ["run", "merge", "evaluate", "report", "experts"])
def test_help_lists_every_option_with_its_meaning(script, call):
    ended = call(script, "--help")
    assert (ended.code, ended.err) == (0, "")
    assert "Options, written as key=value:" in ended.out
    assert "???" not in ended.out
    if script in ("run", "merge"):
        assert "full width of the window" in ended.out


LIGHT = """
import contextlib, importlib, io, json, sys
answers = {}
for name, arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), contextlib.suppress(SystemExit):
        importlib.import_module("scripts." + name).main()
    answers[name] = said.getvalue().splitlines()[0]
heavy = {"transformers", "vllm", "lm_eval", "datasets", "matplotlib", "scipy.stats", "pandas", "wandb"}
print(json.dumps({"answers": answers, "heavy": sorted(heavy & set(sys.modules))}))
"""


def test_help_and_mistakes_are_answered_without_loading_the_heavy_packages(named):
    """Transformers alone takes seconds to import: too long to wait for being told of a misspelt key."""
    typed = [[script, ["--help"]] for script in ("run", "evaluate", "report", "experts")]
    typed.append(["merge", MERGE.format(**named).replace(str(named["lm"]), "nix").split()])
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, json.dumps(typed)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    answered = json.loads(done.stdout)
    assert answered["answers"]["merge"].startswith("error: nix: no such folder")
    assert answered["heavy"] == []


def test_a_mistake_in_a_process_of_its_own_is_the_same_one_line(start, tmp_path):
    command = start("merge", "experts.base=nix", f"out={tmp_path / 'merged'}", "method.epsilonn=0.1")
    said, complained = command.communicate(timeout=120)
    assert (command.returncode, said) == (2, "")
    assert complained == "error: method.epsilonn: no such option of method della; did you mean method.epsilon?\n"
    assert not (tmp_path / "merged").exists()
