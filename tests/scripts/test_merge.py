"""`python -m scripts.merge`: exactly the models named, into a folder that opens, the same bytes however it is done."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from della.checkpoint import Checkpoint
from della.folder import write_weights

DELLA = ("method=della", "method.drop_rate=0.5", "method.epsilon=0.2", "method.lambda_=1.0", "seed=1")


@pytest.fixture
def named(pico) -> list[str]:
    """A base and two of the three experts of the family."""
    models = pico.models
    return [
        f"experts.base={pico.base}",
        f"experts.models.lm={models['lm']}",
        f"experts.models.math={models['math']}",
    ]


def test_the_documented_command_merges_the_models_named_into_a_folder_that_transformers_opens(
    start, call, named, tmp_path
):
    out = tmp_path / "merged"
    command = start("merge", *named, *DELLA, f"out={out}", threads=2)
    said, complained = command.communicate(timeout=120)
    assert (command.returncode, complained) == (0, "")
    assert "lm, math" in said

    model = AutoModelForCausalLM.from_pretrained(out)
    tokens = AutoTokenizer.from_pretrained(out)("How many pens?", return_tensors="pt")["input_ids"]
    assert torch.isfinite(model(tokens).logits).all()

    facts = json.loads((out / "merge.json").read_text())
    assert sorted(facts["inputs"]["experts"]) == ["lm", "math"]
    assert facts["seed"] == 1
    assert facts["method"]["drop_rate"] == 0.5
    assert facts["method"]["epsilon"] == 0.2
    assert all(0.4 < rate < 0.6 for rate in facts["drop_rate"].values())
    assert "della" in (out / "README.md").read_text()

    torch.set_num_threads(1)  # the process above had two
    assert call("merge", *named, *DELLA, f"out={tmp_path / 'again'}").code == 0
    for file in ("model.safetensors", "merge.json", "README.md"):
        assert (tmp_path / "again" / file).read_bytes() == (out / file).read_bytes(), file


def test_the_same_merge_gives_the_same_bytes_with_experts_in_another_order_and_sharded_inputs(
    call, pico, named, tmp_path
):
    for name, folder in {"base": pico.base, **pico.models}.items():
        sharded(folder, tmp_path / f"sharded-{name}")
    shards = [f"experts.base={tmp_path}/sharded-base"]
    shards += [f"experts.models.{name}={tmp_path}/sharded-{name}" for name in ("math", "lm")]
    for out, models in {"first": named, "again": named, "reversed": named[::-1], "sharded": shards}.items():
        assert call("merge", *models, *DELLA, f"out={tmp_path / out}").code == 0
    first = (tmp_path / "first" / "model.safetensors").read_bytes()
    for out in ("again", "reversed", "sharded"):
        assert (tmp_path / out / "model.safetensors").read_bytes() == first, out
    for out in ("again", "reversed"):
        assert (tmp_path / out / "merge.json").read_bytes() == (tmp_path / "first" / "merge.json").read_bytes(), out


def test_vllm_opens_a_merged_folder_and_answers_from_it(start, call, pico, named, tmp_path):
    out = tmp_path / "merged"
    assert call("merge", *named, *DELLA, f"out={out}").code == 0
    data = (f"data={pico.data}", "prompts=tiny", "max_new_tokens=4", "limit=2", f"paths.work={tmp_path / 'work'}")
    said, complained = start("evaluate", f"model={out}", "benchmarks=[gsm8k]", "engine=vllm", *data).communicate(
        timeout=300
    )
    assert "flexible" in said, complained


def sharded(folder, out) -> None:
    """The same model with its weights in several files."""
    source = Checkpoint(folder)
    shutil.copytree(folder, out, ignore=shutil.ignore_patterns("*.safetensors"))
    write_weights(out, source, max_shard_bytes=50_000)
    assert len(list(out.glob("model-*.safetensors"))) > 1


def test_task_arithmetic_is_the_base_plus_the_deltas_of_the_experts_named_and_of_no_other(call, pico, named, tmp_path):
    """With lambda 1/2: base + (lm - base) / 2 + (math - base) / 2 = (lm + math) / 2, to within float32 rounding."""
    out = tmp_path / "merged"
    assert call("merge", *named, "method=task_arithmetic", "method.lambda_=0.5", f"out={out}").code == 0
    merged = load_file(out / "model.safetensors")
    lm, math = (load_file(pico.models[name] / "model.safetensors") for name in ("lm", "math"))
    assert merged.keys() == lm.keys()
    for name, tensor in merged.items():
        torch.testing.assert_close(tensor, (lm[name] + math[name]) / 2, rtol=0, atol=1e-6)


def test_lambda_is_one_where_it_is_not_written(call, named, tmp_path):
    assert call("merge", *named, "method=ties", f"out={tmp_path / 'merged'}").code == 0
    assert json.loads((tmp_path / "merged" / "merge.json").read_text())["method"]["lambda_"] == 1.0


def test_a_family_made_by_a_recipe_is_merged_by_name(call, work, named, tmp_path):
    """experts=tiny_pico experts.merge=[lm,math] names the same folders as their paths do."""
    assert call("merge", *named, *DELLA, f"out={tmp_path / 'folders'}").code == 0
    recipe = ["experts=tiny_pico", "experts.merge=[math,lm]", f"paths.work={work}"]
    assert call("merge", *recipe, *DELLA, f"out={tmp_path / 'family'}").code == 0
    weights = [(tmp_path / out / "model.safetensors").read_bytes() for out in ("folders", "family")]
    assert weights[0] == weights[1]


def test_another_dtype_and_several_files_are_written_where_they_are_asked_for(call, named, tmp_path):
    out = tmp_path / "merged"
    assert call("merge", *named, "method=average", "dtype=bfloat16", "max_shard_gb=0.00005", f"out={out}").code == 0
    assert len(list(out.glob("model-*.safetensors"))) > 1
    assert {header.dtype for header in Checkpoint(out).headers.values()} == {"bfloat16"}
    assert AutoModelForCausalLM.from_pretrained(out).dtype == torch.bfloat16


@pytest.mark.full
def test_vllm_opens_a_merged_folder_and_answers_as_transformers_does(call, pico, named, tmp_path):
    out = tmp_path / "merged"
    assert call("merge", *named, *DELLA, f"out={out}").code == 0
    arguments = [f"model={out}", f"data={pico.data}", "prompts=tiny", "benchmarks=[gsm8k]", "limit=4", "split=dev"]
    arguments += ["max_new_tokens=8", f"paths.work={tmp_path / 'work'}"]
    answers = {}
    for engine in ("hf", "vllm"):
        kept = tmp_path / f"{engine}.json"
        assert call("evaluate", *arguments, f"engine={engine}", f"out={kept}").code == 0
        answers[engine] = json.loads(kept.read_text())["outcomes"]["gsm8k"]["outputs"]
    assert answers["hf"] == answers["vllm"]
