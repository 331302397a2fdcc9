"""Settings of engines: bounds, options that an engine would ignore, and what is part of a run's identity."""

import pytest

from eval.engines.settings import Settings, read_settings
from eval.errors import InputError

SERVER = {"name": "openai", "url": "http://127.0.0.1:1/v1"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"name": "vlm"}, "unknown engine 'vlm': write vllm, hf or openai"),
        ({"dtype": "fp8"}, "engine dtype 'fp8': write float32, bfloat16 or float16"),
        ({"checksum": "md5"}, "engine checksum=md5: write full, sample, none"),
        ({"max_num_seqs": 0}, "engine max_num_seqs=0: write a whole number from 1"),
        ({"max_num_batched_tokens": 1.5}, "engine max_num_batched_tokens=1.5: write a whole number from 1"),
        ({"prefix_caching": "on"}, "engine prefix_caching=on: write true or false"),
        ({"gpu_memory_utilization": 1.2}, "engine gpu_memory_utilization=1.2: write a share above 0, at most 1"),
        ({"seed": 0.5}, "engine seed=0.5: write a whole number"),
        ({"name": "hf", "max_num_seqs": 8}, "engine max_num_seqs=8: engine=hf does not know it, only vllm"),
        ({"batch_size": 8}, "engine batch_size=8: engine=vllm does not know it, only hf"),
        ({"name": "hf", "device_map": "balanced"}, "engine device_map=balanced: write auto or null"),
        ({"name": "hf", "device_map": "auto", "device": "cpu"}, "device=cpu beside device_map=auto"),
        ({"name": "openai"}, "engine url=None: engine=openai needs one"),
        ({**SERVER, "url": "localhost:8000"}, "engine url=localhost:8000: engine=openai needs one"),
        ({**SERVER, "retries": -1}, "engine retries=-1: write a whole number from 0"),
        ({**SERVER, "timeout_s": 0}, "engine timeout_s=0: write a number of seconds above 0"),
        ({"url": "http://127.0.0.1:1/v1"}, "engine=vllm does not know it, only openai"),
    ],
)
def test_a_wrong_setting_is_one_line_that_says_what_to_write(given, says):
    with pytest.raises(InputError) as error:
        Settings(**given)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_an_unknown_setting_is_answered_with_the_known_ones():
    with pytest.raises(InputError, match="unknown engine setting 'max_len': write one of dtype, max_model_len"):
        read_settings("hf", max_len=3)


def test_the_defaults_are_identified_by_name_dtype_and_length_alone():
    """What records were identified by before there were more settings."""
    assert Settings("hf").identity() == {"name": "hf", "dtype": "float32", "max_model_len": None}
    assert Settings("vllm").identity() == {"name": "vllm", "dtype": "float32", "max_model_len": None}


@pytest.mark.parametrize(
    "speed",
    [
        {"max_num_seqs": 8},
        {"max_num_batched_tokens": 512},
        {"prefix_caching": False},
        {"gpu_memory_utilization": 0.5},
        {"kv_cache_bytes": 2**20},
        {"seed": 3},
        {"checksum": "none"},
        {"name": "hf", "batch_size": 2},
        {"name": "hf", "device": "cpu"},
        {**SERVER, "concurrency": 2, "retries": 1, "timeout_s": 3.0, "api_key_env": "KEY"},
    ],
)
def test_what_changes_only_speed_is_no_part_of_a_runs_identity(speed):
    assert set(Settings(**speed).identity()) == {"name", "dtype", "max_model_len"}


@pytest.mark.parametrize(
    "outputs",
    [{"tensor_parallel_size": 2}, {"enforce_eager": False}, {**SERVER, "served": "tiny"}],
)
def test_what_may_change_outputs_is_part_of_it(outputs):
    (name,) = set(outputs) - set(SERVER)
    assert Settings(**outputs).identity()[name] == outputs[name]


def test_weights_are_handed_over_as_a_folder_where_other_processes_hold_them():
    assert Settings("vllm").swaps == Settings("hf").swaps == "tensors"
    assert Settings("vllm", tensor_parallel_size=2).swaps == Settings(**SERVER).swaps == "folder"
