"""The GPUs that a sweep's workers on this machine share: one engine to a GPU, or to several that hold one model.

workers: ${workers:${engine.name},${engine.tensor_parallel_size},${engine.device_map}}     # configs/run.yaml
take_gpus(config.worker, gpus_per_engine("vllm", 2, None))
"""

import os
from pathlib import Path

DRIVER = Path("/proc/driver/nvidia/gpus")


def gpus(driver: Path = DRIVER) -> list[str]:
    """Names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES has them; none without NVIDIA's driver."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip() not in ("", "-1")]
    return [str(number) for number in range(len(list(driver.glob("*"))))]


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


def gpus_per_engine(engine: str, tensor_parallel_size: int, device_map: str | None) -> int:
    """How many GPUs one worker's engine takes: none behind a server, all with device_map=auto."""
    if engine == "openai":
        return 0
    return max(1, len(gpus())) if device_map else tensor_parallel_size


def workers(engine: str, tensor_parallel_size: int, device_map: str | None) -> int:
    """Processes of a sweep on this machine: as many as its GPUs serve, or one per core where there is none."""
    found, wanted = len(gpus()), gpus_per_engine(engine, tensor_parallel_size, device_map)
    return max(1, found // wanted) if found and wanted else cores()


def take_gpus(worker: int, wanted: int) -> None:
    """Leaves this process the GPUs of its place among the workers; to be called before anything asks for a GPU."""
    found = gpus()
    if found and wanted and wanted < len(found):
        first = worker * wanted % (len(found) // wanted * wanted)
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(found[first : first + wanted])
