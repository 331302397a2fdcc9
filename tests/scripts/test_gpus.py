"""How many workers a machine gets, and which GPUs each of them."""

import os

import pytest

from scripts.gpus import cores, gpus, gpus_per_engine, take_gpus, workers
from tests.scripts.test_configs import composed


@pytest.fixture
def visible(monkeypatch):
    return lambda names: monkeypatch.setenv("CUDA_VISIBLE_DEVICES", names)


def test_the_drivers_folder_says_how_many_there_are_and_the_environment_which_are_ours(tmp_path, monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    driver = tmp_path / "driver"
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (driver / name).mkdir(parents=True)
    assert gpus(driver) == ["0", "1"]
    assert gpus(tmp_path / "none") == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-ab")
    assert gpus(driver) == ["3", "GPU-ab"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert gpus(driver) == []


# Four GPUs: one model each, two for each, all for one; a server holds the model itself. Without any: one per core.
@pytest.mark.parametrize(
    ("names", "engine", "expected"),
    [
        ("0,1,2,3", ("vllm", 1, None), 4),
        ("0,1,2,3", ("vllm", 2, None), 2),
        ("0,1,2", ("vllm", 2, None), 1),
        ("0", ("vllm", 4, None), 1),
        ("0,1,2,3", ("hf", 1, "auto"), 1),
        ("0,1,2,3", ("openai", 1, None), None),
        ("", ("vllm", 1, None), None),
    ],
)
def test_a_worker_for_what_the_gpus_serve_else_for_each_core(names, engine, expected, visible):
    visible(names)
    assert workers(*engine) == (cores() if expected is None else expected)


def test_the_configuration_asks_for_it(visible):
    visible("0,1,2,3")
    assert composed("run").workers == 4
    assert composed("run", "engine.tensor_parallel_size=2").workers == 2
    assert composed("run", "workers=3").workers == 3


# By hand: pairs of four GPUs; a fifth worker goes round; three GPUs make one pair and one that is left over.
@pytest.mark.parametrize(
    ("names", "worker", "wanted", "expected"),
    [
        ("0,1,2,3", 0, 1, "0"),
        ("0,1,2,3", 3, 1, "3"),
        ("0,1,2,3", 1, 2, "2,3"),
        ("0,1,2,3", 4, 1, "0"),
        ("0,1,2", 1, 2, "0,1"),
        ("5,7", 1, 1, "7"),
        ("0,1", 0, 2, "0,1"),
        ("0,1", 1, 0, "0,1"),
    ],
)
def test_each_worker_takes_its_own_gpus(names, worker, wanted, expected, visible):
    visible(names)
    take_gpus(worker, wanted)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == expected


def test_a_server_takes_none_of_ours(visible):
    visible("0,1")
    assert gpus_per_engine("openai", 1, None) == 0


def test_the_workers_of_a_search_take_their_own_gpus_too(call, work, visible, monkeypatch):
    taken = []
    monkeypatch.setattr("scripts.searching.run.run_search", lambda config: taken.append(gpus()))
    visible("4,5")
    assert call("run", "sweep=search_della", "worker=1", f"paths.work={work}").code == 0
    assert taken == [["5"]]
