"""A page to browse samples: prompt, reference, every run's output and verdict, word by word where two runs differ.

    page = samples_page([("A", "LM+Math della"), ("B", "LM+Math ties")], items, {"gsm8k": ["flexible"]}, "summary")
    Path("samples.html").write_text(page)

One file that asks for nothing else: style and script are inline (della/samples_page.html) and its policy allows these
two by their hashes and nothing from anywhere. Prompts and outputs are data, in a script element that no browser runs;
the script puts them into the page as text. Only the lines in view are in the page, so thousands of prompts are fine.
"""

import base64
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

TEMPLATE = Path(__file__).with_name("samples_page.html")
FIELDS = ("benchmark", "id", "group", "prompt", "reference", "outputs", "scores")


def samples_page(
    runs: Sequence[tuple[str, str]],
    items: Sequence[Mapping],
    metrics: Mapping[str, Sequence[str]],
    summary: str = "",
    title: str = "Samples",
) -> str:
    """The page as one HTML text, ASCII.

    Args:
        runs: (short name, description) of each, at least one.
        items: one per prompt: benchmark, id, group, prompt and reference (text or None), outputs (per run: text or
            None), scores (metric -> per run: 0 to 1, or None without a verdict).
        metrics: benchmark -> its metrics, the main one first: verdicts are shown by it.
        summary: text shown above, line breaks kept.

    Raises:
        ValueError: an item lacks a field, or has not one output and one score for each run.
    """
    for item in items:
        lacking = [name for name in FIELDS if name not in item]
        lengths = set() if lacking else {len(item["outputs"]), *(len(values) for values in item["scores"].values())}
        if lacking or lengths != {len(runs)}:
            raise ValueError(
                f"item {item.get('benchmark')} {item.get('id')}: lacks {lacking} or fits no {len(runs)} runs"
            )
    data = {
        "runs": [{"name": name, "label": label} for name, label in runs],
        "metrics": {name: list(values) for name, values in metrics.items()},
        "items": [[item[name] for name in FIELDS] for item in items],
        "summary": summary,
    }
    page = TEMPLATE.read_text(encoding="utf-8")
    style, script = (_between(page, f"<{tag}>", f"</{tag}>") for tag in ("style", "script"))
    policy = f"default-src 'none'; style-src {_allowed(style)}; script-src {_allowed(script)}; base-uri 'none'"
    parts = {"POLICY": policy, "TITLE": html.escape(title), "DATA": as_script_data(data)}
    return re.sub(r"@@(POLICY|TITLE|DATA)@@", lambda mark: parts[mark[1]], page)


def as_script_data(value: object) -> str:
    r"""JSON that stays inside its script element whatever it holds: `<`, `>` and `&` as \u003c and so on, all ASCII.

    Without `<` there is neither `</script>` nor `<!--`, the two that end or change a script element.
    """
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _between(text: str, begin: str, end: str) -> str:
    return text.split(begin, 1)[1].split(end, 1)[0]


def _allowed(content: str) -> str:
    """A hash as Content-Security-Policy names it: only an element with exactly this content is used."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
