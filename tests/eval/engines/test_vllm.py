"""vLLM with other settings, opened anew for each test: no other engine may be open in the process."""

import importlib.util

import pytest

from eval.engines import open_engine
from eval.engines.vllm import is_cpu_build
from eval.errors import InputError


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"max_model_len": 4096}, r"vllm does not open .*max_model_len"),
        (
            {"gpu_memory_utilization": 0.5},
            r"gpu_memory_utilization=0\.5: this vLLM runs on the CPU; write kv_cache_bytes",
        ),
        ({"tensor_parallel_size": 3}, r"tensor_parallel_size=3: the 2 attention heads of .* cannot be split so"),
    ],
)
def test_what_vllm_cannot_do_here_is_one_line(settings, says, pico, capfd):
    if importlib.util.find_spec("vllm") is None or not is_cpu_build():
        pytest.skip("vLLM for the CPU is not installed")
    with pytest.raises(InputError, match=says) as error:
        open_engine("vllm", pico, **settings)
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""


def test_settings_of_batching_and_caches_give_the_same_answers(pico, prompts, ask):
    """Eight answers at a time, 192 tokens a step (a prompt is computed in parts), no prefix cache."""
    if importlib.util.find_spec("vllm") is None:
        pytest.skip("vLLM is not installed")
    answers = []
    for settings in ({}, {"max_num_seqs": 8, "max_num_batched_tokens": 192, "prefix_caching": False}):
        engine = open_engine("vllm", pico, **settings)
        config = engine.llm.llm_engine.vllm_config
        answers.append(ask(engine, prompts[:40]))
        engine.close()
    assert config.scheduler_config.max_num_seqs == 8
    assert config.scheduler_config.max_num_batched_tokens == 192
    assert config.cache_config.enable_prefix_caching is False
    assert sum(a == b for a, b in zip(*answers, strict=True)) >= 39
