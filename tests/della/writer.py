"""A process that makes a folder of ten shards in some tenths of a second: python -m tests.della.writer OUT KEY

It is there to be killed. It prints how many shards it found whole, and writes the others in blocks from two threads.
"""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from della.folder import staged, write_json
from della.headers import Header
from della.shards import plan_shards

SHARDS = plan_shards({f"{number:02}": Header((40_960,), "uint8") for number in range(20)}, 81_920)


def start_writer(out: Path, key: str = "key") -> subprocess.Popen:
    """Start it; its standard output and error are pipes."""
    command = [sys.executable, "-m", "tests.della.writer", str(out), key]
    root = Path(__file__).parents[2]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root)


def _write(descriptor: int, name: str, start: int, at: int) -> None:
    """4096 bytes that tell tensor and place."""
    time.sleep(0.002)
    os.pwrite(descriptor, f"{name} {start:6} ".encode().ljust(16, b".") * 256, at + start)


def main() -> None:
    with staged(Path(sys.argv[1]), sys.argv[2], SHARDS) as staging, ThreadPoolExecutor(2) as pool:
        print(staging.resumed, flush=True)
        for shard in SHARDS:
            if shard.file in staging.finished:
                continue
            descriptor = staging.begin(shard)
            tasks = [
                pool.submit(_write, descriptor, name, start, shard.start[name])
                for name, header in shard.headers.items()
                for start in range(0, header.numel, 4096)
            ]
            for task in tasks:
                task.result()
            staging.finish(shard, {"tensors": list(shard.headers)})
        write_json(staging.place("config.json"), {})


if __name__ == "__main__":
    main()
