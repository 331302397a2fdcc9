"""The `vllm` engine: continuous batching in this process, on the CPU or a GPU, with weights exchanged in memory.

In this process, because only then can merged tensors be handed over without writing them to a disk. Set OMP_NUM_THREADS
before the process starts to choose the number of threads on the CPU; threads are not pinned to cores, so that several
workers of one machine do not end up on the same one.
"""

from __future__ import annotations

import gc
import importlib.metadata
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eval.engines.base import Engine
from eval.engines.settings import Settings
from eval.errors import InputError

# Only defaults: what the user has set stays.
ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_PLUGINS": "",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "HF_HUB_OFFLINE": "1",
}
CPU_ENVIRONMENT = {
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "TORCHDYNAMO_DISABLE": "1",  # else the first request compiles for seconds
}


class VLLMEngine(Engine):
    name = "vllm"
    is_open = False  # vLLM's process groups are global: closing one engine breaks another of the same process

    def __init__(self, model: Path, settings: Settings):
        if VLLMEngine.is_open:
            raise RuntimeError("one vllm engine per process: close the open one, or swap its weights")
        super().__init__(model, settings)
        prepare_environment()
        with quiet():
            try:
                import vllm
            except ImportError as error:
                raise InputError(f"engine vllm is not usable here ({error}): install it, or write engine=hf") from error
            heal_llvmlite()
            self._parameters = vllm.SamplingParams
            dtype: Any = settings.dtype
            self.llm = vllm.LLM(
                model=str(model),
                dtype=dtype,
                max_model_len=settings.max_model_len,
                max_num_seqs=settings.max_num_seqs,
                kv_cache_memory_bytes=settings.kv_cache_bytes or default_kv_cache(),
                enforce_eager=settings.enforce_eager,
                seed=settings.seed,
                disable_log_stats=True,
                use_tqdm_on_load=False,
            )
        VLLMEngine.is_open = True

    def generate(self, prompts: list[list[int]], limits: list[int], stops: tuple[str, ...]) -> list[list[int]]:
        self.llm.reset_prefix_cache()  # so that no answer depends on what was asked before
        parameters = {limit: self._greedy(limit, stops) for limit in set(limits)}
        inputs: list[Any] = [{"prompt_token_ids": prompt} for prompt in prompts]
        results = self.llm.generate(inputs, [parameters[limit] for limit in limits], use_tqdm=False)
        ends = set(self.eos_ids)
        tokens = [list(result.outputs[0].token_ids) for result in results]
        return [answer[:-1] if answer and answer[-1] in ends else answer for answer in tokens]

    def _greedy(self, limit: int, stops: tuple[str, ...]):
        return self._parameters(
            temperature=0.0,
            max_tokens=limit,
            stop=list(stops),
            stop_token_ids=self.eos_ids,
            detokenize=bool(stops),  # answers are decoded in one batch afterwards; only stop strings need text earlier
        )

    def load(self, tensors: dict) -> None:
        self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": list(tensors.items())})
        if self.tied:
            self.llm.apply_model(renew_tied_output)
        # Cached keys and values belong to the old weights. Only prompts longer than a cache block show it.
        self.llm.reset_prefix_cache()

    def close(self) -> None:
        self.llm.llm_engine.engine_core.shutdown()
        del self.llm
        gc.collect()
        VLLMEngine.is_open = False


def renew_tied_output(model) -> None:
    """Let a tied output layer see the embeddings just loaded.

    On the CPU vLLM multiplies by a packed copy of each matrix. reload_weights packs anew the layers it has tensors for;
    a tied output layer has none of its own and would go on with the old embeddings (vLLM 0.32.0).
    """
    model.lm_head.quant_method.process_weights_after_loading(model.lm_head)


def heal_llvmlite() -> None:
    """Make llvmlite's library object say that it has no `__dict__`, where numba is loaded.

    On the CPU vLLM 0.32 looks at `vars(value)` of everything in every loaded module. That object takes any name for a
    C function, `__dict__` too, and what it hands out is no dict: `LLM()` would fail with an AttributeError.
    """
    ffi = sys.modules.get("llvmlite.binding.ffi")
    library: Any = type(getattr(ffi, "lib", None))
    original = getattr(library, "__getattr__", None)
    if original is None or getattr(original, "refuses_dunder", False):
        return

    def getattr_(self: Any, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return original(self, name)

    getattr_.refuses_dunder = True  # type: ignore[attr-defined]
    library.__getattr__ = getattr_


def prepare_environment() -> None:
    """Set what vLLM reads when it is imported, unless the user has set it."""
    for name, value in {**ENVIRONMENT, **(CPU_ENVIRONMENT if is_cpu_build() else {})}.items():
        os.environ.setdefault(name, value)


def is_cpu_build() -> bool:
    """The CPU build is another distribution with the same module name."""
    return any(importlib.metadata.distributions(name="vllm-cpu"))


def default_kv_cache() -> int | None:
    """Bytes: on the CPU vLLM would take nearly all memory for itself; on a GPU that is what one wants (None)."""
    return 2**28 if is_cpu_build() else None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep back what vLLM and torch print while they start, and show it if starting fails.

    Their messages come from Python warnings, logging and C++ alike, so both output streams themselves are redirected.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    with tempfile.TemporaryFile() as kept:
        saved = os.dup(1), os.dup(2)
        try:
            os.dup2(kept.fileno(), 1)
            os.dup2(kept.fileno(), 2)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except BaseException:
            sys.stdout.flush()
            sys.stderr.flush()
            kept.seek(0)
            os.write(saved[1], kept.read())
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for stream, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, stream)
                os.close(copy)
