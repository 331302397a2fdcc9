"""Records of runs that never were: every part took a time fixed by hand, so that a model of them can be exact."""

from datetime import UTC, datetime

from della.record import make_record, score_block

MERGE, SWAP, OTHER, PAUSE = 1.0, 2.0, 0.25, 0.5  # seconds of each run, and between two runs of a worker
GENERATE, SCORE = 0.1, 0.01  # seconds of a prompt
BOOT, OPENING = 10.0, 6.0  # of a worker: before its first run, and what that one takes beyond the others
BEGUN = 1_700_000_000


def ordinary(prompts: int, benchmarks: int = 1) -> float:
    """Seconds of a run that opens nothing."""
    return MERGE + SWAP + OTHER + benchmarks * prompts * (GENERATE + SCORE)


def record(
    number: int,
    at: float,
    prompts: int = 20,
    pid: int = 1,
    first: bool = False,
    benchmarks: tuple[str, ...] = ("gsm8k",),
    method: str = "ties",
    sweep: str = "seeds",
    slower: float = 0.0,
    **config,
) -> dict:
    """A done run that began `at` seconds after the first one; slower: seconds that it took beyond its parts."""
    parts = {"boot": BOOT} if first else {"before": PAUSE}
    parts |= {"merge": MERGE + 1.0 * first, "engine": (OPENING - 1.0) * first, "swap": SWAP}
    parts |= {name: {"generate": prompts * GENERATE, "score": prompts * SCORE} for name in benchmarks}
    facts = {
        "started": datetime.fromtimestamp(BEGUN + at, UTC).isoformat(),
        "seconds": ordinary(prompts, len(benchmarks)) + OPENING * first + slower,
        "host": "here",
        "pid": pid,
        "invocation": "one",
        "sweep": sweep,
        "workers": 2,
        "gpu": None,
        "parts": parts,
    }
    ids, scores = [str(n) for n in range(prompts)], [1.0] * prompts
    described = {
        "family": "tiny_pico",
        "family_seed": 0,
        "merge": ["lm", "math"],
        "method": {"name": method},
        "number": number,
        "engine": {"name": "vllm", "dtype": "float32", "max_model_len": None},
        "max_new_tokens": 48,
        **config,
    }
    blocks = {name: score_block("flexible", ids, ["all"] * prompts, {"flexible": scores}) for name in benchmarks}
    return make_record(described, {}, {}, scores=blocks, provenance=facts)


def worked(runs: int, workers: int = 2, prompts: int = 20) -> list[dict]:
    """What so many workers made of a sweep, one after the other, without waiting for each other."""
    out, free = [], [0.0] * workers
    for number in range(runs):
        pid = number % workers
        made = record(number, free[pid], prompts, pid, first=number < workers)
        free[pid] += made["provenance"]["seconds"] + PAUSE
        out.append(made)
    return out
