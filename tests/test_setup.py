"""The files that say what is installed agree with each other."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / "requirements"


def pins(name: str) -> dict[str, str]:
    """name -> version of a requirements file, the files it includes left out."""
    lines = [line.split("#")[0].strip() for line in (REQUIREMENTS / name).read_text().splitlines()]
    return dict(line.split("==") for line in lines if "==" in line and ";" not in line)


def test_the_conda_environment_holds_exactly_the_pins_of_the_cpu_requirements():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    pip = next(item["pip"] for item in listed if isinstance(item, dict))
    assert dict(line.split("==") for line in pip if "==" in line) == {**pins("common.txt"), **pins("cpu.txt")}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_lock_holds_every_pin_at_its_version(device):
    locked = {name.split("[")[0]: version.split("+")[0] for name, version in pins(f"lock-{device}.txt").items()}
    wanted = {**pins("common.txt"), **pins(f"{device}.txt")}
    assert {name: locked.get(name) for name in wanted} == wanted


def test_every_pin_of_the_common_file_gives_its_reason():
    lines = [line for line in (REQUIREMENTS / "common.txt").read_text().splitlines() if "==" in line]
    assert [line for line in lines if not re.search(r"# \w", line)] == []


def test_the_package_depends_on_nothing_that_is_not_pinned():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert set(declared) - set(pins("common.txt")) == set()
