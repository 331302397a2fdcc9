"""GPUs by name: memory, memory bandwidth and dense matrix throughput, as their data sheets have them.

Sources: A100, H100: glennklockwood.com/garden/processors, which cites NVIDIA's data sheets and white papers;
A100 40 GB also upb-pc2.atlassian.net (PC2, Paderborn); H200: itkb.uw.cz, "what the datasheet numbers mean"; L40S:
NVIDIA's data sheet table at mullet.se; L4: NVIDIA's data sheet as quoted by grokipedia.com (242 TFLOPS with sparsity);
RTX 4090: waredb.com and gigagpu.com. None of these cards has been run by this repository.
"""

from dataclasses import dataclass

from della.errors import InputError


@dataclass(frozen=True)
class Gpu:
    """memory: 10^9 bytes (the cards have a little more); bandwidth: 10^9 bytes/s; tflops16, tflops32: dense, 10^12
    FLOP/s of matrix products in 16 bits, and in float32 without TF32; reported: what a driver's name of it holds."""

    memory: float
    bandwidth: float
    tflops16: float
    tflops32: float
    reported: tuple[str, ...]


GPUS = {
    "a100_40gb": Gpu(40, 1555, 312, 19.5, ("A100", "40GB")),
    "a100_80gb": Gpu(80, 2039, 312, 19.5, ("A100", "80GB")),
    "h100_80gb": Gpu(80, 3350, 989, 66.9, ("H100", "80GB")),
    "h200_141gb": Gpu(141, 4800, 989, 66.9, ("H200",)),
    "l40s": Gpu(48, 864, 362, 91.6, ("L40S",)),
    "l4": Gpu(24, 300, 121, 30.3, ("L4",)),
    "rtx_4090": Gpu(24, 1008, 165, 82.6, ("4090",)),
}


def find_gpu(name: str) -> Gpu | None:
    """A card of the table; None for "other", whose figures are options. Raises InputError for an unknown name."""
    if name != "other" and name not in GPUS:
        raise InputError(
            f"gpu={name}: write one of {', '.join(GPUS)}, or gpu=other with assume.gpu_memory_gb, "
            "assume.gpu_bandwidth_gb_s and assume.gpu_tflops"
        )
    return GPUS.get(name)
