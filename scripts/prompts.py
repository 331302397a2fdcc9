"""Print what a model is shown: one JSON object per line, with id, prompt, stops and max_new_tokens.

python -m scripts.prompts benchmark=mbpp ids=[11,12]
python -m scripts.prompts benchmark=gsm8k random=20 seed=0 protocol=fixed
python -m scripts.prompts benchmark=humaneval prompts=chat model=DIR
"""

import json
import random
from collections.abc import Callable
from pathlib import Path

from della.errors import InputError
from eval.benchmarks import BENCHMARKS
from eval.tasks.chat import render_chat
from eval.tasks.data import load_rows
from eval.tasks.prompts import find_format
from scripts.data import data_folder
from scripts.door import door
from scripts.prompts_settings import PromptsConfig


@door("prompts")
def main(config: PromptsConfig) -> None:
    if not config.benchmark:
        raise InputError(f"benchmark is not set; write benchmark=NAME, one of {', '.join(BENCHMARKS)}")
    folder = data_folder(config.data)
    form = find_format(config.template, config.benchmark)
    data = str(folder) if folder else None
    rows = chosen(load_rows(config.benchmark, data=data, split=config.split, prompts=config.template), config)
    framed = chat_frame(config.model) if config.model else str
    for row in rows:
        shown = {
            "id": row["id"],
            "prompt": framed(row["prompt"]),
            "stops": list(form.stops),
            "max_new_tokens": form.max_new_tokens,
        }
        print(json.dumps(shown))


def chosen(rows: list[dict], config: PromptsConfig) -> list[dict]:
    """The rows with the ids asked for, in their order; or random ones, in the benchmark's; or all.

    Raises InputError for an id that no row has, and for more random rows than there are.
    """
    if config.ids:
        by_id = {row["id"]: row for row in rows}
        for wanted in config.ids:
            if wanted not in by_id:
                where = f"{config.benchmark} {config.split}"
                raise InputError(f"ids: {where} has no {wanted!r}; its ids are {rows[0]['id']} to {rows[-1]['id']}")
        return [by_id[wanted] for wanted in config.ids]
    if config.random is None:
        return rows
    if config.random > len(rows):
        raise InputError(f"random={config.random}: there are {len(rows)} documents; write a number up to that")
    return [rows[number] for number in sorted(random.Random(config.seed).sample(range(len(rows)), config.random))]


def chat_frame(model: str) -> Callable[[str], str]:
    """What puts a message into the chat template of a model folder. Raises InputError for one without a tokenizer."""
    if not (Path(model) / "tokenizer_config.json").is_file():
        raise InputError(f"{model}: no tokenizer_config.json; name the folder of a model with a chat template")
    from transformers import AutoTokenizer  # seconds to import: only where a template is asked for

    tokenizer = AutoTokenizer.from_pretrained(model)
    return lambda message: render_chat(tokenizer, [{"role": "user", "content": message}])


if __name__ == "__main__":
    main()
