"""Forward passes that measure a model's input activations: ||X_j||_2 of every input feature of every linear layer.

    held = measure(Path("models/math"), token_ids, facts, unfinished=Path("math.partial"))
    write_activations(Path("math.safetensors"), held)

Squares are summed in float64 over all tokens of all texts, one text after the other; the root is rounded to float32.
A killed run goes on after the sums it last put down. (WANDA, arXiv 2306.11695, section 3; the DELLA paper's Table 5.)
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from della.activations import Activations, key_of
from della.errors import InputError

SAVE_SECONDS = 60.0
_DONE = "texts done"  # of the unfinished file's metadata
_KEY = "key"


def measure(
    folder: Path,
    texts: Sequence[Sequence[int]],
    facts: Mapping[str, str],
    *,
    dtype: str | None = None,
    device: str = "cpu",
    unfinished: Path | None = None,
    progress: Callable[[int], object] = lambda texts: None,
) -> Activations:
    """The input activations of a model over some texts.

    Args:
        folder: a model that transformers opens as a causal language model.
        texts: token ids of each; an empty one is passed over.
        facts: what is measured, see `Activations`; the number of tokens is added to them.
        dtype: of the model while it runs: "float32", "bfloat16" or "float16"; None: as it is stored.
        device: "cpu" or "cuda".
        unfinished: file for the sums of a run that may be stopped; gone at the end.
        progress: called with a number of texts that are done.

    Raises:
        InputError: the model has no linear layer, or one of its activations is NaN or infinite.
    """
    model = _open(folder, dtype).to(device).eval()
    layers = {f"{name}.weight": layer for name, layer in model.named_modules() if isinstance(layer, nn.Linear)}
    if not layers:
        raise InputError(f"{folder}: the model has no linear layer that input activations could be measured of")
    key = key_of(facts)
    sums, done = _resume(unfinished, key)
    progress(done)
    saved = time.monotonic()
    with _summed(layers, sums), torch.inference_mode():
        for number in range(done, len(texts)):
            if len(texts[number]):
                model(input_ids=torch.tensor([list(texts[number])], device=device), use_cache=False)
            progress(1)
            if unfinished is not None and time.monotonic() - saved >= SAVE_SECONDS:
                _save(unfinished, key, sums, number + 1)
                saved = time.monotonic()
    for name, total in sums.items():
        if not bool(torch.isfinite(total).all()):
            raise InputError(f"{folder}: an input of {name} is NaN or infinite; write activations.dtype=float32")
    norms = {name: total.sqrt().to(torch.float32).cpu().numpy() for name, total in sorted(sums.items())}
    if unfinished is not None:
        unfinished.unlink(missing_ok=True)
    return Activations(norms, {**facts, "tokens": str(sum(map(len, texts)))})


def _open(folder: Path, dtype: str | None) -> Any:
    """The model, without transformers' own progress bar."""
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype) if dtype else "auto")
    finally:
        if shown:
            logging.enable_progress_bar()


@contextlib.contextmanager
def _summed(layers: Mapping[str, nn.Linear], sums: dict[str, Tensor]) -> Iterator[None]:
    """Adds the squares of the layers' inputs to the sums, while it lasts; a layer that is never run has none."""

    def adder(name: str) -> Callable:
        def add(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            values = inputs[0].detach().to(torch.float64)
            squares = values.reshape(-1, values.shape[-1]).square().sum(0)
            sums[name] = sums[name].to(squares.device) + squares if name in sums else squares

        return add

    hooks = [layer.register_forward_pre_hook(adder(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _save(path: Path, key: str, sums: Mapping[str, Tensor], done: int) -> None:
    from safetensors.torch import save_file

    whole = path.with_name(f"{path.name}.{os.getpid()}")
    save_file({name: total.cpu().contiguous() for name, total in sums.items()}, whole, {_KEY: key, _DONE: str(done)})
    whole.replace(path)


def _resume(path: Path | None, key: str) -> tuple[dict[str, Tensor], int]:
    """The sums of a run that was stopped, and of how many texts they are."""
    from safetensors import SafetensorError, safe_open

    if path is None or not path.is_file():
        return {}, 0
    try:
        with safe_open(path, "pt") as file:
            facts = file.metadata() or {}
            if facts.get(_KEY) != key:
                return {}, 0
            return {name: file.get_tensor(name) for name in file.keys()}, int(facts[_DONE])  # noqa: SIM118
    except (SafetensorError, OSError):
        return {}, 0
