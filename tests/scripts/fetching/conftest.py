"""Fixtures of the tests that fetch: repositories, and huggingface_hub pointed at a scripted hub."""

import pytest

from scripts.fetching import transfer
from tests.scripts.fetching.repositories import FAMILY, ROWS, model_files
from tests.scripts.fetching.scripted_hub import Repository


@pytest.fixture(scope="module")
def large() -> dict[str, dict[str, bytes]]:
    """A base and an expert of 24 MB each."""
    return {"base": model_files(ROWS, 0.0), "lm": model_files(ROWS, 1.0)}


@pytest.fixture
def repositories(large) -> dict[str, Repository]:
    return {f"o/{name}": Repository(dict(files)) for name, files in large.items()}


@pytest.fixture
def small() -> dict[str, Repository]:
    return {"o/base": Repository(model_files(300, 0.0)), "o/lm": Repository(model_files(300, 1.0))}


@pytest.fixture
def on(monkeypatch, tmp_path):
    """Points huggingface_hub, which reads its environment once, at a scripted hub; no waiting between attempts."""
    monkeypatch.setattr(transfer, "FIRST_WAIT_S", 0.01)
    monkeypatch.setenv("DELLA_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setenv("HF_TOKEN_PATH", str(tmp_path / "no-token"))

    def point(url: str, offline: bool = False) -> None:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
        monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no-token"))

    return point


@pytest.fixture
def fetch(call, tmp_path):
    return lambda *more: call("experts", *FAMILY.split(), f"paths.work={tmp_path / 'work'}", *more)
