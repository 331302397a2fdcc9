"""The model card of a merged folder: what was merged, how, and how to read the rest.

It holds no time and no fact about the machine, so that the same merge writes the same card.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from della.methods import METHODS


def write_card(path: Path, facts: Mapping[str, Any]) -> None:
    """Write the card of the merge that `facts` (the content of merge.json) describes."""
    name = facts["method"]["name"]
    options = ", ".join(f"{key} {value}" for key, value in facts["method"].items() if key != "name") or "none"
    rows = [f"| base | {facts['inputs']['base']['path']} | - | {facts['inputs']['base']['sha256']} |"]
    for expert, source in facts["inputs"]["experts"].items():
        rows.append(f"| {expert} | {source['path']} | {facts['drop_rate'][expert]:.4f} | {source['sha256']} |")
    seed = "" if facts["seed"] is None else f"- mask seed: {facts['seed']}\n"
    path.write_text(
        f"""---
library_name: transformers
tags:
- merge
---

# Merge of {", ".join(facts["inputs"]["experts"])} with {name}

- method: {name} ({METHODS[name].summary}; {METHODS[name].paper})
- options: {options}
{seed}
| model | path | dropped deltas | sha256 |
| --- | --- | --- | --- |
{chr(10).join(rows)}

Configuration and tokenizer are the base's. `merge.json` holds the whole configuration, the drop rate of every tensor
and the versions that made the weights.
""",
        encoding="utf-8",
    )
