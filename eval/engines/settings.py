"""What can be chosen about an engine, checked before one is opened; light to import.

    read_settings("hf", dtype="float32", batch_size=64)

Each field says which engines know it and whether outputs depend on it. An option that an engine would ignore is
refused. Batching, caches and memory only regroup the same sums: they are speed, and move nothing but float ties.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from eval.errors import InputError

ENGINES = ("vllm", "hf", "openai")
DTYPES = ("float32", "bfloat16", "float16")
CHECKSUMS = ("full", "sample", "none")


def setting(default: Any, text: str, engines: tuple[str, ...] = ENGINES, decides: bool = False) -> Any:
    """A field with its help text, the engines that know it, and whether it decides outputs (beyond float ties)."""
    return field(default=default, metadata={"help": text, "engines": engines, "decides": decides})


VLLM, HF, OPENAI = ("vllm",), ("hf",), ("openai",)


@dataclass
class Settings:
    """What can be chosen about an engine; one set for all of them.

    Raises:
        InputError: a value out of range, or one that the engine of this name does not know.
    """

    name: str = setting("vllm", "what generates: vllm | hf | openai (a server)", decides=True)
    dtype: str = setting("float32", "of weights and sums while generating: float32 | bfloat16 | float16", decides=True)
    max_model_len: int | None = setting(
        None, "prompt and answer together, tokens; null: as long as the model can", decides=True
    )
    checksum: str = setting(
        "full",
        "swapped weights as the engine holds them, compared with the merge: full (every value) | sample (16 columns of "
        "each matrix) | none",
    )
    max_num_seqs: int = setting(256, "vllm: answers generated at a time", VLLM)
    max_num_batched_tokens: int | None = setting(None, "vllm: tokens computed in one step; null: vLLM's choice", VLLM)
    prefix_caching: bool = setting(True, "vllm: what prompts begin with alike is computed once", VLLM)
    tensor_parallel_size: int = setting(1, "vllm: GPUs that one model is split over", VLLM, decides=True)
    gpu_memory_utilization: float | None = setting(
        None, "vllm on a GPU: share of its memory for weights and cache, above 0 to 1; null: vLLM's choice", VLLM
    )
    kv_cache_bytes: int | None = setting(
        None, "vllm: size of its cache; null: 2^28 on the CPU, what is left of the share on a GPU", VLLM
    )
    enforce_eager: bool = setting(True, "vllm: false compiles the model (minutes once, faster then)", VLLM, True)
    seed: int = setting(0, "vllm: random seed; greedy decoding draws nothing", VLLM)
    batch_size: int = setting(128, "hf: prompts generated at a time", HF)
    device: str | None = setting(None, "hf: cpu | cuda | cuda:N; null: a GPU where there is one", HF)
    device_map: str | None = setting(None, "hf: auto spreads the layers over GPUs and memory; null: one device", HF)
    url: str | None = setting(None, "openai: address of the server, as http://127.0.0.1:8000/v1", OPENAI)
    served: str | None = setting(None, "openai: name the model is served under; null: the only one", OPENAI, True)
    api_key_env: str = setting("OPENAI_API_KEY", "openai: environment variable that holds the key", OPENAI)
    concurrency: int = setting(16, "openai: requests under way at a time", OPENAI)
    retries: int = setting(6, "openai: times a request is sent again after 429, 5xx, timeouts, cut lines", OPENAI)
    timeout_s: float = setting(600.0, "openai: seconds to wait for one answer", OPENAI)

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            raise InputError(f"unknown engine {self.name!r}: write {', '.join(ENGINES[:-1])} or {ENGINES[-1]}")
        if self.dtype not in DTYPES:
            raise InputError(f"engine dtype {self.dtype!r}: write float32, bfloat16 or float16")
        if self.checksum not in CHECKSUMS:
            raise InputError(f"engine checksum={self.checksum}: write {', '.join(CHECKSUMS)}")
        for name in _WHOLE:
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < 1):
                raise InputError(f"engine {name}={value}: write a whole number from 1")
        for name in ("enforce_eager", "prefix_caching"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"engine {name}={getattr(self, name)}: write true or false")
        if type(self.seed) is not int:
            raise InputError(f"engine seed={self.seed}: write a whole number")
        if type(self.retries) is not int or self.retries < 0:
            raise InputError(f"engine retries={self.retries}: write a whole number from 0")
        if not self.timeout_s > 0:
            raise InputError(f"engine timeout_s={self.timeout_s}: write a number of seconds above 0")
        share = self.gpu_memory_utilization
        if share is not None and not 0 < share <= 1:
            raise InputError(f"engine gpu_memory_utilization={share}: write a share above 0, at most 1")
        self._check_engine()

    def _check_engine(self) -> None:
        """Raises InputError for what this engine would not look at, or cannot do without."""
        for item in fields(self):
            known = item.metadata.get("engines", ENGINES)
            if self.name not in known and getattr(self, item.name) != item.default:
                raise InputError(
                    f"engine {item.name}={getattr(self, item.name)}: engine={self.name} does not know it, only "
                    f"{' and '.join(known)}; leave it out"
                )
        if self.device_map not in (None, "auto"):
            raise InputError(f"engine device_map={self.device_map}: write auto or null")
        if self.device_map and self.device:
            raise InputError(f"engine device={self.device} beside device_map={self.device_map}: write one of them")
        if self.name == "openai" and not (self.url or "").startswith(("http://", "https://")):
            raise InputError(f"engine url={self.url}: engine=openai needs one, as engine.url=http://127.0.0.1:8000/v1")

    @property
    def swaps(self) -> str:
        """How weights are handed to this engine: "tensors", or a "folder" where they are held by other processes."""
        return "folder" if self.name == "openai" or self.tensor_parallel_size > 1 else "tensors"

    def options(self) -> dict[str, Any]:
        """Everything but the name, as `open_engine` takes it."""
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name != "name"}

    def identity(self) -> dict[str, Any]:
        """What decides outputs: always name, dtype and max_model_len, others where they are not the default."""
        always = ("name", "dtype", "max_model_len")
        decides = [item for item in fields(self) if item.metadata.get("decides") or item.name in always]
        values = {item.name: getattr(self, item.name) for item in decides}
        return {
            item.name: values[item.name] for item in decides if item.name in always or values[item.name] != item.default
        }


_WHOLE = (
    "max_model_len",
    "max_num_seqs",
    "max_num_batched_tokens",
    "tensor_parallel_size",
    "kv_cache_bytes",
    "batch_size",
    "concurrency",
)


def read_settings(name: str, **settings) -> Settings:
    """The settings of an engine, checked before anything is opened. Raises InputError as `open_engine` does."""
    known = [item.name for item in fields(Settings) if item.name != "name"]
    for unknown in sorted(set(settings) - set(known)):
        raise InputError(f"unknown engine setting {unknown!r}: write one of {', '.join(known)}")
    return Settings(name, **settings)
