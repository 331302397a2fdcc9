"""What a sweep would fail at, found before anything is started: errors, and warnings of what is not there yet."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.planning.shape import Shape, folders
from scripts.planning.stated import Stated
from scripts.planning.texts import Text, Texts
from scripts.schema import SweepPlanConfig

LARGE = 1e9  # parameters from which float32 on a GPU is worth a word
MOSTLY = 0.5
MARGIN = 1.1  # of a longest prompt over the mean one nothing is known here: room for one answer at its limit and more


def too_small(config: SweepPlanConfig, shape: Shape, model: Stated) -> list[str]:
    """Whether weights and the keys and values of one sequence fit into the stated GPUs."""
    tp = config.engine.tensor_parallel_size
    name = f"{tp} x {config.gpu}" if tp > 1 else str(config.gpu)
    have = f"{model.memory * tp / 1e9:.0f} GB"
    weights, room = model.weights / 1e9, model.room()
    out = []
    if shape.heads % tp:
        out.append(
            f"engine.tensor_parallel_size={tp}: {shape.heads} attention heads cannot be split so; write a number that "
            f"divides {shape.heads}"
        )
    if room <= 0:
        out.append(
            f"gpu={config.gpu}: {weights:.0f} GB of weights ({config.engine.dtype}) do not fit into {name} ({have}); "
            f"{_instead(config)}"
        )
        return out
    context = config.engine.max_model_len or shape.context
    needed = context * shape.kv_bytes(model.width)
    if context and needed > room:
        fits = int(room / shape.kv_bytes(model.width))
        out.append(
            f"gpu={config.gpu}: beside {weights:.0f} GB of weights, {name} ({have}) has room for keys and values of "
            f"{fits:,} tokens, and vLLM wants {context:,}; write engine.max_model_len={fits}, or {_instead(config)}"
        )
    return out


def _instead(config: SweepPlanConfig) -> str:
    half = "engine.dtype=bfloat16, " if config.engine.dtype == "float32" else ""
    return f"write {half}engine.tensor_parallel_size={2 * config.engine.tensor_parallel_size} or name a larger card"


def too_long(config: SweepPlanConfig, shape: Shape | None, texts: Mapping[str, Text]) -> list[str]:
    """Mean prompts that leave no room for an answer in what the model can read at a time."""
    context = config.engine.max_model_len or (shape.context if shape else 0)
    return [
        f"{name}: a mean prompt of {text.prompt:.0f} tokens leaves no room for an answer in {context} tokens; raise "
        "engine.max_model_len, or use a model with a longer context"
        for name, text in texts.items()
        if context and text.prompt * MARGIN >= context
    ]


def warnings(config: SweepPlanConfig, shape: Shape | None, texts: Texts, free: int, needed: float) -> list[str]:
    """What is not there yet, or dearer than it need be."""
    out = []
    base, models = folders(config)
    missing = [name for name, folder in {"base": base, **models}.items() if folder is None or not folder.is_dir()]
    if missing:
        fetch = f"python -m scripts.experts experts={config.experts.family}"
        how = fetch if base is not None else "name them as experts.base=DIR experts.models.NAME=DIR"
        out.append(f"not here yet: {', '.join(missing)}; {how}")
    elif needed > free:
        out.append(f"{Path(config.paths.work)}: {needed / 1e9:.1f} GB are needed there, {free / 1e9:.1f} GB are free")
    if texts.place is None and not config.experts.recipe:
        out.append(
            "no folder of benchmark data is named: prompts are counted by stated means (DELLA_DATA_DIR, experts.data)"
        )
    if config.gpu and shape and shape.parameters > LARGE and config.engine.dtype == "float32":
        out.append(
            "engine.dtype=float32 on a GPU: twice the memory and a fraction of the speed of engine.dtype=bfloat16"
        )
    return out


def waiting(config: SweepPlanConfig, time: Mapping[str, Any] | None) -> list[str]:
    """Workers that wait for judges most of the time."""
    waited = time["parts"].get("judge", 0.0) / time["seconds"] if time and time["seconds"] else 0.0
    if waited <= MOSTLY:
        return []
    now = config.judge.parallel
    return [
        f"workers wait for judges {100 * waited:.0f} % of the time: raise judge.parallel ({now} now), as far as the "
        "endpoint's limits go"
    ]
