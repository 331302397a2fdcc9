"""What the task files' `!function` lines name. lm-eval loads this file by its path, outside of any package.

It makes the package importable from wherever lm-eval runs and then uses it, so that the code behind a task is one and
the same module whether lm-eval's command line or eval/benchmarks.py asks for it.
"""

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[2])
if ROOT not in sys.path:
    sys.path.append(ROOT)

from datasets import Dataset  # noqa: E402

from eval.tasks import alpaca_eval, data, gsm8k, humaneval, mbpp  # noqa: E402
from eval.tasks.prompts import prompt_family  # noqa: E402

score_gsm8k = gsm8k.process_results
score_mbpp = mbpp.process_results
score_alpaca_eval = alpaca_eval.process_results
score_humaneval = humaneval.process_results


def _load(benchmark: str, options: dict) -> dict[str, Dataset]:
    known = {name: options[name] for name in ("data", "split", "prompts") if name in options}
    if "protocol" in options:
        known["prompts"] = prompt_family(options["prompts"], options["protocol"])
    return {"test": Dataset.from_list(data.load_rows(benchmark, **known))}


def load_gsm8k(**metadata) -> dict[str, Dataset]:
    """The split asked for (metadata: data, split, prompts, protocol), under the name that the task file evaluates."""
    return _load("gsm8k", metadata)


def load_mbpp(**metadata) -> dict[str, Dataset]:
    """As load_gsm8k."""
    return _load("mbpp", metadata)


def load_alpaca_eval(**metadata) -> dict[str, Dataset]:
    """As load_gsm8k."""
    return _load("alpaca_eval", metadata)


def load_humaneval(**metadata) -> dict[str, Dataset]:
    """As load_gsm8k."""
    return _load("humaneval", metadata)
