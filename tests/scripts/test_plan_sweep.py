"""`python -m scripts.plan sweep=...`: counts, time, disk, judges on one page, every number explained; mistakes."""

import json

import pytest

from della.record import load_records, write_record
from tests.scripts.planning.runs import OTHER, PAUSE, worked

WIZARD = ("experts=folders", "experts.family=wizard_13b", "experts.prompts=wizard_13b", "engine.dtype=bfloat16")
TABLE = (*WIZARD, "sweep=main_table", "gpu=a100_80gb")


def planned(call, tmp_path, *arguments: str) -> tuple[dict, object]:
    out = tmp_path / "plan.json"
    ended = call("plan", *arguments, f"out={out}")
    return json.loads(out.read_text()), ended


def test_the_main_table_at_13_billion_parameters_needs_no_folder(call, tmp_path):
    """To choose: 4 merges x 136 points, each merge on its experts' benchmarks, 2 + 2 + 2 + 3, 300 prompts of each.
    Then of 8 methods 4 that draw nothing once and 4 with five mask seeds, 24 runs a merge, and 4 single models on all;
    test prompts: 4 merges 805 + 1,319, 805 + 500, 1,319 + 500 and all 2,624 together."""
    facts, ended = planned(call, tmp_path, *TABLE, f"paths.work={tmp_path}")
    assert ended.code == 0
    choosing, final = facts["stages"]["choosing"], facts["stages"]["final"]
    assert (choosing["runs"], choosing["merges"], choosing["evaluations"]) == (544, 544, 136 * 9)
    assert choosing["prompts"] == 136 * 9 * 300
    assert (final["runs"], final["merges"], final["evaluations"]) == (4 + 96, 96, 24 * 9 + 12)
    assert final["prompts"] == 24 * (2124 + 1305 + 1819 + 2624) + 4 * 2624
    assert facts["model"]["parameters"] == 13_015_864_320
    assert facts["disk"]["base and experts"] == 4 * 2 * 13_015_864_320
    assert facts["time"]["seconds"] < facts["time"]["at_most"]
    eight, one = facts["time"]["workers"]["8"], facts["time"]["workers"]["1"]
    assert one["gpu_hours"] <= eight["gpu_hours"]  # seven engines more are started
    assert one["wall"] / 8 <= eight["wall"] < one["wall"]
    assert {row["benchmark"] for row in facts["judges"]} == {"alpaca_eval", "gsm8k"}
    assert all(row["cost"] > 0 for row in facts["judges"])
    for words in ("merges", "GPU-hours", "disk", "judge", "wall-clock", "taken for granted", "13 billion parameters"):
        assert words in ended.out
    assert "not here yet: base" in ended.err
    assert "judge=rules cannot judge" in ended.err
    assert "raise judge.parallel (8 now)" in ended.err


def test_a_search_is_counted_at_most(call, tmp_path):
    """2 merges x 60 trials, 300 prompts of each benchmark, 2 + 1; each winner on all development prompts, 1,000 and
    464, and on test with five mask seeds."""
    sweep = ("sweep=search_della", "benchmarks=[gsm8k,mbpp]", "sweep.merges=[[math,code],[math]]")
    facts, ended = planned(call, tmp_path, *WIZARD, *sweep, "gpu=a100_80gb", f"paths.work={tmp_path}")
    assert ended.code == 0
    choosing, final = facts["stages"]["choosing"], facts["stages"]["final"]
    assert (choosing["runs"], choosing["prompts"]) == (2 * 60, 60 * 3 * 300)
    assert (final["runs"], final["prompts"]) == (2 * 6, 1464 + 5 * 1819 + 1000 + 5 * 1319)
    assert "a search's trials are counted whole" in ended.out


def test_a_model_split_over_gpus_goes_through_a_folder_of_each_worker(call, tmp_path):
    """Two GPUs a worker: GPU-hours are twice the workers'; four workers write a merge of 26 GB each."""
    more = ("engine.tensor_parallel_size=2", "workers=4", f"paths.work={tmp_path}")
    facts, ended = planned(call, tmp_path, *TABLE, *more)
    assert ended.code == 0
    (size,) = [value for name, value in facts["disk"].items() if name.startswith("merges on their way")]
    assert size == 4 * 2 * 13_015_864_320
    clock = facts["time"]["workers"]["4"]
    assert clock["gpu_hours"] == pytest.approx(2 * clock["worker_hours"])
    assert "written to a folder and read" in facts["assumptions"]["swap_s"]["source"]


def test_every_number_taken_for_granted_is_on_the_page_with_its_source(call, tmp_path):
    facts, ended = planned(call, tmp_path, *TABLE, f"paths.work={tmp_path}", "assume.answer_tokens.gsm8k=250")
    rows = facts["assumptions"]
    assert rows["answer_tokens.gsm8k"] == {"value": 250.0, "unit": "tokens", "source": "option"}
    assert all(row["source"].split(":")[0].split()[0] for row in rows.values())
    page = ended.out.split("taken for granted")[1]
    for name, row in rows.items():
        assert name in page
        assert row["source"] in page


def test_a_mistake_in_the_machine_ends_with_exit_code_2_and_the_page(call, tmp_path):
    ended = call("plan", *WIZARD, "sweep=main_table", "gpu=l4", f"paths.work={tmp_path}")
    assert ended.code == 2
    assert "error: gpu=l4: 26 GB of weights (bfloat16) do not fit" in ended.err
    assert "GPU-hours" in ended.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("sweep=main_tabel",), "sweep=main_tabel: no such choice; did you mean main_table?"),
        (("sweep=none",), "no sweep is named"),
        (("sweep=search_della", "compare=true"), "trials stopped early leave no record to compare"),
        (("sweep=main_table", "gpu=a100"), "gpu=a100: write one of a100_40gb"),
        (("sweep=main_table", "assume.bandwidth_share=2"), "assume.bandwidth_share=2"),
        (("sweep=main_table", "assume.decode_tokens_per_s=0"), "assume.decode_tokens_per_s=0"),
        (("sweep=main_table", "assume.merges_s=1"), "did you mean assume.merge_s?"),
        (("-m", "sweep=main_table"), "-m: a plan runs nothing"),
        (("sweep=main_table", "sweep.drop_rates=[0.05]"), "drop_rate 0.05"),
    ],
)
def test_a_mistake_in_the_command_is_one_line(call, tmp_path, arguments, words):
    ended = call("plan", "experts=tiny_pico", *arguments, f"paths.work={tmp_path}")
    assert (ended.code, ended.out) == (2, "")
    assert words in ended.err
    assert len(ended.err.splitlines()) == 1


def test_models_of_unknown_size_are_told(call, tmp_path):
    ended = call("plan", "sweep=main_table", "experts=folders", "gpu=l4", f"paths.work={tmp_path}")
    assert ended.code == 2
    assert "assume.model_config=FILE" in ended.err


def test_development_prompts_that_are_not_there_are_told_before_anything_runs(call, tmp_path, monkeypatch):
    (tmp_path / "data" / "gsm8k").mkdir(parents=True)
    (tmp_path / "data" / "gsm8k" / "test.jsonl").write_text('{"question": "1 + 1?", "answer": "#### 2"}\n')
    (tmp_path / "data" / "mbpp").mkdir()
    problem = {"text": "One.", "code": "one = 1", "test_setup_code": "", "test_list": ["assert one == 1"]}
    lines = [json.dumps({"task_id": number, **problem}) for number in (11, 601)]
    (tmp_path / "data" / "mbpp" / "mbpp.jsonl").write_text("\n".join(lines))
    monkeypatch.setenv("DELLA_DATA_DIR", str(tmp_path / "data"))
    narrow = ("benchmarks=[gsm8k,mbpp]", "sweep.merges=[[math,code]]", f"paths.work={tmp_path}")
    facts, ended = planned(call, tmp_path, *TABLE, *narrow)
    assert ended.code == 2
    assert "error: no dev data of gsm8k: put dev.jsonl or train.jsonl into" in ended.err
    assert facts["benchmarks"]["gsm8k"]["documents"] == {"test": 1, "dev": 1000}
    assert call("plan", *TABLE, *narrow, "select=test").code == 0


def test_a_family_with_records_is_planned_from_them(call, tmp_path):
    """Every run of 20 prompts took 5.45 s and 0.5 s until the next; those to come have 12 of one benchmark."""
    for run in worked(12):
        write_record(tmp_path / "records", run)
    narrow = ("benchmarks=[gsm8k]", "sweep.merges=[[lm,math]]", "sweep.family_seeds=[]", "sweep.test_limit=12")
    command = ("sweep=seeds", "experts=tiny_pico", *narrow, f"paths.work={tmp_path}", "workers=2")
    facts, ended = planned(call, tmp_path, *command)
    assert ended.code == 0
    assert facts["time"]["source"].startswith("measured: 12 runs on 1 machine (no GPU), 2 workers")
    runs = facts["all"]["runs"]
    each = facts["time"]["seconds"] / runs
    assert each == pytest.approx(1.0 + 2.0 + 12 * 0.11 + OTHER + PAUSE)
    assert facts["time"]["interval"] == pytest.approx([facts["time"]["seconds"]] * 2)
    assert facts["assumptions"]["start_s"]["value"] == pytest.approx(16.0)
    slower, _ = planned(call, tmp_path, *command, "assume.swap_s=4")
    assert slower["time"]["seconds"] == pytest.approx(facts["time"]["seconds"] + 2 * runs)


def test_without_records_and_without_a_card_the_time_is_not_known(call, tmp_path):
    facts, ended = planned(call, tmp_path, "sweep=seeds", "experts=tiny_pico", f"paths.work={tmp_path}")
    assert (ended.code, facts["time"]) == (0, None)
    assert "time: not known" in ended.out
    assert "judges: nothing is paid" in ended.out


def test_help_of_a_sweeps_plan_lists_its_options(call):
    said = call("plan", "sweep=main_table", "--help").out
    for words in ("assume.decode_tokens_per_s", "gpu ", "a100_80gb", "workers", "compare"):
        assert words in said
    assert "max_shard_gb" not in said
    assert "sweep=NAME" in call("plan", "--help").out


def test_a_run_keeps_what_its_parts_took(call, work):
    """Parts of a run are within its seconds; the first one has its process's start, the others their pause."""
    small = ("sweep=seeds", "sweep.family_seeds=[]", "sweep.merges=[[lm,math]]", "sweep.drop_rates=[0.5]")
    limits = ("sweep.seeds=[1]", "sweep.test_limit=2", "experts.max_new_tokens=8")
    run = ("experts=tiny_pico", "engine=hf", *small, *limits, f"paths.work={work}")
    assert call("run", *run, "tracking=none").code == 0
    records = load_records(work / "records")
    firsts = [record for record in records if "boot" in record["provenance"]["parts"]]
    assert len(firsts) == 1
    for record in records:
        parts = dict(record["provenance"]["parts"])
        outside = parts.pop("boot", 0.0) + parts.pop("before", 0.0)
        inside = sum(sum(part.values()) if isinstance(part, dict) else part for part in parts.values())
        assert outside >= 0
        assert 0 < inside <= record["provenance"]["seconds"] + 0.01
        assert {"merge", "engine", "swap", *record["scores"]} == parts.keys()
    ended = call("plan", *run)
    assert ended.code == 0
    assert f"measured: {len(records)} runs on 1 machine" in ended.out
