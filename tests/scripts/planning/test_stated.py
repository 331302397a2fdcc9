"""The stated time model and what it stands on: sizes of models, GPUs, measured merges; worked by hand."""

import json

import pytest

from della.errors import InputError
from scripts.planning.assumptions import Assumptions
from scripts.planning.gpus import GPUS, find_gpu
from scripts.planning.problems import too_small
from scripts.planning.shape import LLAMA_2_13B, LLAMA_3_2_3B, find_shape, parameters_of
from scripts.planning.stated import Stated, read_bench
from scripts.planning.texts import Text
from scripts.timing.models import parameters_of as parameters_of_size
from tests.scripts.test_configs import composed

WIZARD = ("experts=folders", "experts.family=wizard_13b", "engine.dtype=bfloat16", "sweep=main_table")
GSM8K = {"gsm8k": Text({"test": 1319}, prompt=100.0, answer=200.0, limit=1000)}


def model(*more: str, texts=None) -> Stated:
    config = composed("plan_sweep", *WIZARD, *more)
    return Stated(config, find_shape(config), texts or GSM8K, {"gsm8k": False}, Assumptions())


def test_the_parameters_of_a_llama_are_counted():
    """Llama-2-13b: 2 x 32,000 x 5,120 at the ends, 40 x (4 x 5,120^2 + 3 x 5,120 x 13,824 + 2 x 5,120), 5,120 last."""
    assert parameters_of(LLAMA_2_13B) == 327_680_000 + 40 * (104_857_600 + 212_336_640 + 10_240) + 5_120
    # Llama-3.2-3B: tied, 8 heads of keys and values of 128 channels each.
    layer = 2 * 3072 * 3072 + 2 * 3072 * 1024 + 3 * 3072 * 8192 + 2 * 3072
    assert parameters_of(LLAMA_3_2_3B) == 128_256 * 3072 + 28 * layer + 3072


def test_weights_cache_and_batch_of_13_billion_parameters_on_80_gb():
    """26.03 GB of weights; 0.92 x 80 - 2 - 26.03 = 45.57 GB are left. A token's keys and values: 2 x 40 layers x 5,120
    x 2 bytes = 819,200. A prompt with its answer, 300 tokens: 185 at a time."""
    made = model("gpu=a100_80gb")
    assert made.weights == 2 * 13_015_864_320
    assert made.room() == pytest.approx(45.57e9, rel=1e-3)
    assert made.shape.kv_bytes(2) == 819_200
    assert made.batch(300) == 185


def test_a_step_reads_the_weights_and_the_batchs_keys_and_values():
    """185 answers hold 100 + 200 / 2 tokens on average: 30.3 GB beside 26.0 of weights, 46.05 ms at 0.6 x 2,039 GB/s.
    Computing takes less: 2 x 13.016 G x 185 / (0.5 x 312 T) = 30.9 ms. So 185 tokens in 46.05 ms."""
    prefill, decode = model("gpu=a100_80gb").rates["gsm8k"]
    assert decode == pytest.approx(185 / 0.04605, rel=2e-3)
    assert prefill == pytest.approx(0.5 * 312e12 / (2 * 13_015_864_320))


def test_two_gpus_share_the_weights():
    """a100_40gb x 2: 2 x (0.92 x 40 - 2) - 26.03 = 43.57 GB for keys and values; twice the rate of prompts."""
    made = model("gpu=a100_40gb", "engine.tensor_parallel_size=2")
    assert made.room() == pytest.approx(43.57e9, rel=1e-3)
    assert made.rates["gsm8k"][0] == pytest.approx(2 * model("gpu=a100_40gb").rates["gsm8k"][0])


def test_options_go_before_everything():
    rates = ("assume.prefill_tokens_per_s=1000", "assume.decode_tokens_per_s=100")
    fixed = (
        "assume.merge_s=7",
        "assume.swap_s=3",
        "assume.other_s=1",
        "assume.start_s=50",
        "+assume.score_s.gsm8k=0.5",
    )
    made = model("gpu=a100_80gb", *rates, *fixed)
    # 10 prompts: 10 x (100 / 1000 + 200 / 100) = 21 s; at the limit 10 x (0.1 + 10) = 101 s.
    expected = {"merge": 7.0, "swap": 3.0, "other": 1.0, "generate": 21.0, "score": 5.0, "judge": 0.0}
    assert made.parts("della", 3, {"gsm8k": 10}) == pytest.approx(expected)
    assert made.parts("della", 3, {"gsm8k": 10}, longest=True)["generate"] == pytest.approx(101.0)
    assert made.parts("unmerged", 0, {"gsm8k": 10})["merge"] == 0.0
    assert made.start == 50.0
    assert {name for name, row in made.book.rows.items() if row.source == "option"} == {
        *("prefill_tokens_per_s", "decode_tokens_per_s", "merge_s", "swap_s", "other_s", "start_s", "score_s.gsm8k")
    }


def test_a_gpu_too_small_is_told_with_what_to_write_instead():
    def told(*more: str) -> list[str]:
        config = composed("plan_sweep", *WIZARD, *more)
        return too_small(config, find_shape(config), model(*more))

    assert told("gpu=a100_80gb") == []
    (found,) = told("gpu=l4")
    assert "26 GB of weights (bfloat16) do not fit into l4 (24 GB)" in found
    assert "engine.tensor_parallel_size=2" in found
    (found,) = told("gpu=a100_40gb", "engine.dtype=float32")
    assert "52 GB of weights (float32)" in found
    assert "engine.dtype=bfloat16" in found
    # 2 x 24 GB: 2 x (0.92 x 24 - 2) - 26.03 = 14.13 GB hold 17,247 tokens; a context of 32,000 is too long.
    (found,) = told("gpu=l4", "engine.tensor_parallel_size=2", "engine.max_model_len=32000")
    assert "write engine.max_model_len=17246" in found or "write engine.max_model_len=17247" in found
    assert any("40 attention heads" in line for line in told("gpu=a100_80gb", "engine.tensor_parallel_size=3"))


def test_a_card_of_ones_own_needs_its_three_figures():
    with pytest.raises(InputError, match=r"assume\.gpu_memory_gb"):
        model("gpu=other")
    figures = ("assume.gpu_memory_gb=80", "assume.gpu_bandwidth_gb_s=2039", "assume.gpu_tflops=312")
    assert model("gpu=other", *figures).rates == model("gpu=a100_80gb").rates
    with pytest.raises(InputError, match="write one of a100_40gb"):
        find_gpu("a100")
    assert all(gpu.memory > 0 and gpu.bandwidth > 0 and gpu.tflops16 > gpu.tflops32 for gpu in GPUS.values())


def test_a_config_json_says_how_large_models_are_that_are_not_here(tmp_path):
    file = tmp_path / "config.json"
    file.write_text(json.dumps(LLAMA_3_2_3B))
    mine = ("experts=folders", "experts.family=mine", "sweep=main_table")
    shape = find_shape(composed("plan_sweep", *mine, f"assume.model_config={file}"))
    assert (shape.parameters, shape.present) == (parameters_of(LLAMA_3_2_3B), False)
    assert find_shape(composed("plan_sweep", *mine)) is None
    file.write_text("{}")
    with pytest.raises(InputError, match="says no 'hidden_size'"):
        find_shape(composed("plan_sweep", *mine, f"assume.model_config={file}"))
    with pytest.raises(InputError, match=r"no config\.json that can be read"):
        find_shape(composed("plan_sweep", *mine, "assume.model_config=nix"))


def test_merging_is_taken_from_the_bench_start_up_apart(tmp_path):
    """Start-up 1 s at the smallest size, 7 s at the largest: 6 s for its parameters. The first merge took 9 s more than
    the later ones, for hashing four models in bfloat16."""
    lines = [{"cores": 2}]
    for size, rounds in ((0.0001, (1.0, 1.0, 1.0)), (1.0, (6.0, 7.0, 8.0))):
        for number, seconds in enumerate(rounds, 1):
            for case in ("linear", "della", "della rescale=l1"):
                job = {"tool": "ours", "case": case, "experts": 3, "size": size, "round": number}
                lines.append({"job": job, "seconds": seconds})
    lines.append({"job": {"tool": "ours", "case": "linear", "experts": 3, "size": 1.0, "round": 0}, "seconds": 16.0})
    file = tmp_path / "measurements.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    billions = parameters_of_size(1.0) / 1e9
    bench = read_bench(file)
    assert bench.merge == pytest.approx({"linear": 6 / billions, "della": 6 / billions})
    assert bench.hashing == pytest.approx(8 * billions / 9)
    assert bench.pace("average") == bench.merge["linear"]
    assert bench.pace("model_stock") == max(bench.merge.values())


def test_the_committed_bench_can_be_read():
    bench = read_bench()
    assert {"della", "ties", "task_arithmetic"} <= bench.merge.keys()
    assert bench.hashing > 0
