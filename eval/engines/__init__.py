"""Engines: a model folder opened for greedy generation, whose weights can be exchanged without opening it again.

    engine = open_engine("vllm", Path("merged"), dtype="float32")
    engine.lm.generate_until(requests)      # engine.lm is an lm_eval.api.model.LM
    engine.swap(tensors)                    # another merge of the same shapes; its folder where engine.swaps says so
    engine.close()

Importing this module imports neither vLLM nor transformers.
"""

from __future__ import annotations

from pathlib import Path

from eval.engines.settings import read_settings
from eval.errors import InputError


def open_engine(name: str, model: str | Path, **settings):
    """Open a Hugging Face model folder (config, tokenizer, safetensors) in the engine of that name.

    engine=openai opens no weights: the server has them, the folder tells how its prompts become token ids.
    Returns an eval.engines.base.Engine. Raises InputError for an unknown engine or setting, a folder without a model,
    an engine that is not installed, or one that does not open this model with these settings.
    """
    chosen = read_settings(name, **settings)
    model = Path(model)
    if not (model / "config.json").is_file():
        raise InputError(f"no model in {model}: it needs config.json, tokenizer files and safetensors")
    if name == "vllm":
        from eval.engines.vllm import VLLMEngine

        return VLLMEngine(model, chosen)
    if name == "openai":
        from eval.engines.served import ServedEngine

        return ServedEngine(model, chosen)
    from eval.engines.hf import HFEngine

    return HFEngine(model, chosen)
