"""average, task_arithmetic and ties against mergekit 0.1.5's linear, task_arithmetic and ties, on real folders.

mergekit has an environment of its own; its mergekit-yaml is found through DELLA_MERGEKIT, by default
.venv-mergekit/bin/mergekit-yaml of the checkout; mergekit-multi beside it makes all merges in one process, since most
of its time is start-up. Weights 1, dtype float32, per tensor. mergekit's ties keeps
max(1, int(density * n)) with density as a float: the densities here give the same counts as our exact floor for every
tensor, which a test below checks, and continuous random weights leave no ties to break.
"""

import json
import os
import subprocess
from decimal import Decimal
from pathlib import Path

import pytest
import torch

from della.checkpoint import Checkpoint
from della.merge import merge_tensors
from della.methods import make_method
from della.prune import kept_count
from tests.della.models import save_llama

CHECKOUT = Path(__file__).parents[2]
MERGEKIT = Path(os.environ.get("DELLA_MERGEKIT", CHECKOUT / ".venv-mergekit/bin/mergekit-yaml"))
MUST_RUN = os.environ.get("CI") == "true" or "DELLA_DATA_DIR" in os.environ
EXPERTS = ("code", "lm", "math")

CASES = [
    ("average", {}, "linear", {}, {}),
    ("task_arithmetic", {}, "task_arithmetic", {}, {}),
    ("task_arithmetic", {"lambda_": 0.4}, "task_arithmetic", {"lambda": 0.4}, {}),
    ("ties", {"drop_rate": 0.5}, "ties", {}, {"density": 0.5}),
    ("ties", {"drop_rate": 0.75, "lambda_": 1.3}, "ties", {"lambda": 1.3}, {"density": 0.25}),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """An untied float32 Llama and three experts near it."""
    root = tmp_path_factory.mktemp("parity")
    for seed, name in enumerate(("base", *EXPERTS)):
        save_llama(root / name, seed, tie_word_embeddings=False)
    return root


@pytest.fixture(scope="module")
def theirs(folders):
    """Every case merged by mergekit: case number -> folder."""
    if not MERGEKIT.is_file():
        assert not MUST_RUN, f"{MERGEKIT} is not there: make mergekit's environment or point DELLA_MERGEKIT at it"
        pytest.skip(f"mergekit is not installed at {MERGEKIT}")
    recipes = []
    for number, (_, _, method, parameters, per_model) in enumerate(CASES):
        models = [{"model": str(folders / name), "parameters": {"weight": 1.0} | per_model} for name in EXPERTS]
        base = {} if method == "linear" else {"base_model": str(folders / "base")}
        settings = {"merge_method": method, "dtype": "float32", "parameters": parameters, "models": models}
        recipes.append(json.dumps({"name": f"case{number}"} | base | settings))  # JSON is YAML
    (folders / "recipes.yaml").write_text("\n---\n".join(recipes))
    command = [
        MERGEKIT.with_name("mergekit-multi"),
        "recipes.yaml",
        "-I",
        "merged",
        "--no-write-model-card",
        "--no-cuda",
    ]
    done = subprocess.run(
        command,
        cwd=folders,
        env={"PATH": os.environ["PATH"], "HOME": str(folders), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return {number: folders / "merged" / f"case{number}" for number in range(len(CASES))}


@pytest.mark.parametrize("number", range(len(CASES)), ids=[f"{case[0]}{case[1] or ''}" for case in CASES])
def test_a_merge_equals_mergekits(folders, theirs, number):
    name, options = CASES[number][:2]
    base, experts = Checkpoint(folders / "base"), {name: Checkpoint(folders / name) for name in EXPERTS}
    expected = Checkpoint(theirs[number])
    names = []
    for merged in merge_tensors(base, experts, make_method(name, **options), None):
        torch.testing.assert_close(merged.tensor, expected.tensor(merged.name), rtol=0, atol=1e-6)
        names.append(merged.name)
    assert names == sorted(expected.headers)


@pytest.mark.parametrize("density", [0.5, 0.25])
def test_the_chosen_densities_keep_the_same_count_in_both(folders, density):
    for header in Checkpoint(folders / "base").headers.values():
        n = torch.Size(header.shape).numel()
        assert kept_count(n, float(1 - Decimal(str(density)))) == max(1, int(density * n))
