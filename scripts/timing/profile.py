"""Where the time of a merge of ours goes: `python -m scripts.bench profile=true sizes=[1.0] methods=[della]`.

The merge runs as `python -m scripts.timing.inside`, which is scripts.merge with a clock around its parts: once per
block or shard, never inside a kernel.
"""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from della.errors import InputError
from scripts.timing.inside import PARTS, THREADED
from scripts.timing.jobs import EXPERTS, ROOT, START, ours
from scripts.timing.models import make_family, parameters_of
from scripts.timing.process import measure
from scripts.timing.runs import into_cache
from scripts.timing.settings import BenchConfig

IMPORTS_SHOWN = 12


def profile(config: BenchConfig, work: Path, environment: Mapping[str, str]) -> None:
    """Prints the parts of a merge of each method, at the largest size, and what start-up imports."""
    small = make_family(work, START, EXPERTS)
    folders = make_family(work, max(config.sizes), EXPERTS)
    into_cache(folders)
    out = work / "merged"
    for method in config.methods:
        for models in (small, folders, folders):  # compile, hash, measure
            subprocess.run(["rm", "-rf", str(out)], check=True)
            command = ours(method, models, out)
            command[command.index("scripts.merge")] = "scripts.timing.inside"
            started = time.time()
            cost = measure(command, ROOT, environment)
            ended = time.time()
        print(f"\n{method}, {parameters_of(max(config.sizes)) / 1e9:.3g} billion parameters, {EXPERTS} experts")
        print(_table(json.loads(cost.out.splitlines()[-1]), started, ended, cost.cpu, cost.peak))
    subprocess.run(["rm", "-rf", str(out)], check=True)
    print(f"\nimports of python -m scripts.merge, seconds by package\n{_imports(small, out, environment)}")
    subprocess.run(["rm", "-rf", str(out)], check=True)


def _table(times: dict, started: float, ended: float, cpu: float, peak: int) -> str:
    """One line per part."""
    parts, marks = times["parts"], times["marks"]
    rows = [("whole process", ended - started), ("  Python and imports", marks["imported"] - started)]
    rows += [("  configuration, inputs opened and checked", marks["begun"] - marks["imported"])]
    rows += [("  merge", marks["merged"] - marks["begun"])]
    rows += [(f"    {PARTS[name]}", parts[name]) for name in PARTS if name in parts]
    rows += [("  end of Python", ended - marks["merged"])]
    rows += [("in threads, summed", sum(parts.get(name, 0.0) for name in THREADED))]
    rows += [(f"  {THREADED[name]}", parts[name]) for name in THREADED if name in parts]
    rows += [("processor time", cpu)]
    lines = [f"{label:<46} {seconds:>8.2f} s" for label, seconds in rows]
    return "\n".join([*lines, f"{'peak private memory':<46} {peak / 1e6:>8,.0f} MB"])


def _imports(models: list[Path], out: Path, environment: Mapping[str, str]) -> str:
    """Self times of imports, summed by top-level package, the largest first."""
    command = ours("task_arithmetic", models, out)
    done = subprocess.run(
        [command[0], "-X", "importtime", *command[1:]], cwd=ROOT, env=dict(environment), capture_output=True, text=True
    )
    if done.returncode:
        raise InputError(f"scripts.merge failed: {done.stderr.splitlines()[-1]}")
    spent: Counter[str] = Counter()
    for line in done.stderr.splitlines():
        if line.startswith("import time:") and line.count("|") == 2 and "self [us]" not in line:
            own, _, name = line.removeprefix("import time:").split("|")
            top = name.strip().split(".")[0]
            spent["standard library" if top in sys.stdlib_module_names else top] += int(own)
    lines = [f"{name:<30} {microseconds / 1e6:>6.3f}" for name, microseconds in spent.most_common(IMPORTS_SHOWN)]
    return "\n".join([*lines, f"{'all':<30} {spent.total() / 1e6:>6.3f}"])
