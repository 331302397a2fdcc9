"""AlpacaEval's annotators, as the installed alpaca_eval package (0.6.6) holds them: nothing of them is written again.

    annotator = Annotator("alpaca_eval_gpt4")
    [(chat, switched)] = annotator.chats(["Greet."], ["Hello."], ["Dear Mia"])
    annotator.parse({"text": "[{'model': 'model_1', 'rank': 1}, {'model': 'model_2', 'rank': 2}]"})    # 1.0: the first

One difference, for outputs that hold ChatML's own marks (`<|im_end|>`): the package would cut its prompt there, or let
the output write a message of its own; here they stay a part of the question.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from eval.errors import InputError
from eval.judges.settings import ANNOTATORS

VERSION = 1  # of what a verdict depends on in this file
SEED = 0  # alpaca_eval's own, of the positions
# What alpaca_eval 0.6.6 sends where an annotator's configuration says nothing (decoders/openai.py).
DEFAULT_FIELDS = {"max_tokens": 2048, "top_p": 1.0, "temperature": 0.7}


class Annotator:
    """An annotator of the installed alpaca_eval package: its configuration, prompt, position rule and parser.

    Reading the configuration costs milliseconds; the package itself (seconds) is imported when something is asked.
    """

    def __init__(self, name: str):
        """Raises InputError for an annotator that is not one of ANNOTATORS, or a missing package."""
        if name not in ANNOTATORS:
            raise InputError(f"judge.name={name}: write one of rules, annotations, {', '.join(ANNOTATORS)}")
        self.name = name
        folder = _package() / "evaluators_configs"
        self.config: dict[str, Any] = yaml.safe_load((folder / name / "configs.yaml").read_text(encoding="utf-8"))[name]
        self.template = (folder / self.config["prompt_template"]).read_text(encoding="utf-8")

    @property
    def request(self) -> dict[str, Any]:
        """Fields of every request but model and messages."""
        own = {key: value for key, value in self.config["completions_kwargs"].items() if key != "model_name"}
        return {**DEFAULT_FIELDS, **own}

    @property
    def version(self) -> str:
        """Of configuration, prompt, parser and package: 16 hexadecimal digits."""
        parser = (_package() / "completion_parsers.py").read_text(encoding="utf-8")
        parts = [VERSION, SEED, self.config, self.template, parser, metadata.version("alpaca-eval")]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    @cached_property
    def _single(self) -> Any:
        with quiet():
            from alpaca_eval.annotators import SinglePairwiseAnnotator
            from alpaca_eval.constants import EVALUATORS_CONFIG_DIR

            return SinglePairwiseAnnotator(
                seed=SEED, base_dir=EVALUATORS_CONFIG_DIR, annotation_column="preference", **self.config
            )

    def chats(self, instructions: list[str], firsts: list[str], seconds: list[str]) -> list[tuple[list[dict], bool]]:
        """The messages that show each pair, and whether the second output is shown first."""
        import pandas as pd

        columns = {"instruction": instructions, "output_1": firsts, "output_2": seconds}
        with quiet():
            from alpaca_eval.utils import make_prompts, prompt_to_chatml

            (switch,) = self._single.processors
            frame = switch.preprocess(pd.DataFrame(columns, dtype=object))
            messages = prompt_to_chatml(self.template.strip())
            contents = [make_prompts(frame, message["content"])[0] for message in messages]
        rows = zip(*contents, strict=True)
        chats = [
            [{**message, "content": content} for message, content in zip(messages, row, strict=True)] for row in rows
        ]
        return list(zip(chats, map(bool, frame["is_switched_outputs"]), strict=True))

    def parse(self, choice: dict) -> float | None:
        """What the package reads from an answer: 1.0 to 2.0, 1 being for what was shown first; None for nothing."""
        completion = choice if self.config.get("completion_key") == "completions_all" else choice["text"]
        with quiet():
            try:
                (preference,) = self._single.fn_completion_parser(completion)
                preference = float(preference)
            except Exception:  # as the package does: whatever its parser stumbles over is no verdict
                return None
        preference = 1.5 if preference == 0 else preference  # the package's older code for a draw
        return preference if 1 <= preference <= 2 else None  # nan is neither


@lru_cache
def _package() -> Path:
    """Where alpaca_eval lies, without importing it."""
    found = importlib.util.find_spec("alpaca_eval")
    if found is None or not found.submodule_search_locations:
        raise InputError("this judge needs the package alpaca_eval: install the environment with make setup")
    return Path(found.submodule_search_locations[0])


_lock = threading.RLock()


@contextmanager
def quiet() -> Iterator[None]:
    """Keeps alpaca_eval from writing to the log (every answer it cannot parse, twice) and from changing its level."""
    with _lock:
        root = logging.getLogger()
        level, disabled, handler = root.level, logging.root.manager.disable, logging.NullHandler()
        root.addHandler(handler)  # without any, its first message would install one for good
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            root.setLevel(level)
            logging.disable(disabled)
            root.removeHandler(handler)
