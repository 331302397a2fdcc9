"""The `vllm` engine: continuous batching in this process, on the CPU or a GPU, with weights exchanged in memory.

In this process, because only then can merged tensors be handed over without writing them to a disk. A model split over
GPUs (tensor_parallel_size) is held by processes of its own: each reads its part of a merged folder. Set OMP_NUM_THREADS
before the process starts to choose the number of threads on the CPU; threads are not pinned to cores, so that several
workers of one machine do not end up on the same one.
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eval.engines.base import Engine
from eval.engines.settings import Settings
from eval.engines.weights import FolderWeights, Weights
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


EXTENSION = "eval.engines.held.Held"  # what vLLM's workers can be asked beyond their own methods


class VLLMEngine(Engine):
    name = "vllm"
    is_open = False  # vLLM's process groups are global: closing one engine breaks another of the same process

    def __init__(self, model: Path, settings: Settings):
        if VLLMEngine.is_open:
            raise RuntimeError("one vllm engine per process: close the open one, or swap its weights")
        super().__init__(model, settings)
        prepare_environment(settings.enforce_eager)
        with quiet():
            try:
                import vllm
            except ImportError as error:
                raise InputError(f"engine vllm is not usable here ({error}): install it, or write engine=hf") from error
            check_machine(settings, model)
            heal_llvmlite()
            self._parameters = vllm.SamplingParams
            try:
                self.llm = vllm.LLM(**llm_arguments(model, settings))
            except ValueError as error:  # what vLLM finds wrong with a setting, at length
                raise InputError(f"vllm does not open {model} so: {first_sentence(error)}") from error
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

    def load(self, weights: Weights) -> None:
        if isinstance(weights, FolderWeights):
            source: dict[str, Any] = {"weights_path": str(weights.folder)}
        else:
            source = {"weights_iterator": list(weights.tensors.items())}
        self.llm.collective_rpc("reload_weights", kwargs=source)
        if self.tied:
            self.llm.collective_rpc("della_renew_output")
        # Cached keys and values belong to the old weights. Only prompts longer than a cache block show it.
        self.llm.reset_prefix_cache()

    def held(self, mode: str) -> list[dict[str, Any]]:
        return [piece for pieces in self.llm.collective_rpc("della_held", args=(mode,)) for piece in pieces]

    def close(self) -> None:
        self.llm.llm_engine.engine_core.shutdown()
        del self.llm
        gc.collect()
        VLLMEngine.is_open = False


def llm_arguments(model: Path, settings: Settings) -> dict[str, Any]:
    """What vllm.LLM is opened with."""
    arguments = {
        "model": str(model),
        "dtype": settings.dtype,
        "max_model_len": settings.max_model_len,
        "max_num_seqs": settings.max_num_seqs,
        "enable_prefix_caching": settings.prefix_caching,
        "tensor_parallel_size": settings.tensor_parallel_size,
        "kv_cache_memory_bytes": settings.kv_cache_bytes or default_kv_cache(),
        "enforce_eager": settings.enforce_eager,
        "seed": settings.seed,
        "worker_extension_cls": EXTENSION,
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
    }
    for name in ("max_num_batched_tokens", "gpu_memory_utilization"):  # None is no value of these
        if getattr(settings, name) is not None:
            arguments[name] = getattr(settings, name)
    return arguments


def check_machine(settings: Settings, model: Path) -> None:
    """Raises InputError for settings that this machine or model cannot follow, which vLLM would tell at length."""
    cpu, count = is_cpu_build(), settings.tensor_parallel_size
    if cpu and settings.gpu_memory_utilization is not None:
        raise InputError(
            f"engine gpu_memory_utilization={settings.gpu_memory_utilization}: this vLLM runs on the CPU; write "
            "kv_cache_bytes, the size of its cache"
        )
    if count == 1:
        return
    import torch

    if not cpu and torch.cuda.device_count() < count:
        raise InputError(
            f"engine tensor_parallel_size={count}: there are {torch.cuda.device_count()} GPUs here; write at most that"
        )
    heads = json.loads((model / "config.json").read_text(encoding="utf-8")).get("num_attention_heads", count)
    if heads % count:
        raise InputError(
            f"engine tensor_parallel_size={count}: the {heads} attention heads of {model} cannot be split so; write a "
            f"number that divides {heads}"
        )


def first_sentence(error: Exception) -> str:
    """The line of a long message that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    body = next(
        (line for line in lines if not re.match(r"\d+ validation error|For further information", line)), "no message"
    )
    return re.sub(r"^Value error, | \[type=.*$", "", body)


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


def prepare_environment(eager: bool) -> None:
    """Set what vLLM reads when it is imported, unless the user has set it; eager: nothing is to be compiled.

    Raises InputError where a model is to be compiled and TORCHDYNAMO_DISABLE forbids it.
    """
    if not eager and os.environ.get("TORCHDYNAMO_DISABLE", "0") != "0":
        raise InputError("engine enforce_eager=false: TORCHDYNAMO_DISABLE is set and forbids compiling; unset it")
    for name, value in {**ENVIRONMENT, **(CPU_ENVIRONMENT if is_cpu_build() else {})}.items():
        if eager or name != "TORCHDYNAMO_DISABLE":
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
        except InputError:  # says in one line what is wrong
            raise
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
