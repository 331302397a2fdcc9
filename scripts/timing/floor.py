"""The floor under a merge: read all inputs, write as many bytes as one of them has, compute nothing.

    python -I scripts/timing/floor.py OUT FLUSH BASE EXPERT...     # folders; FLUSH: 1 to wait for the disk as well

Every file is read once, in turns, into the same 4 MB. Prints the seconds from the first byte to the last, as Python's
start-up is none of the copying. Imports nothing that would take long.
"""

import mmap
import os
import sys
import time

BUFFER = 4 << 20


def copy(out: str, flush: bool, folders: list[str]) -> float:
    """Seconds to read the weights of all folders and to write those of the first."""
    started = time.perf_counter()
    buffer = memoryview(mmap.mmap(-1, BUFFER))
    os.mkdir(out)
    names = [sorted(name for name in os.listdir(folder) if name.endswith(".safetensors")) for folder in folders]
    for shard in range(max(map(len, names))):
        inputs = [
            os.open(os.path.join(folder, files[shard]), os.O_RDONLY)
            for folder, files in zip(folders, names, strict=True)
            if shard < len(files)
        ]
        output = os.open(os.path.join(out, f"{shard}.safetensors"), os.O_WRONLY | os.O_CREAT, 0o644)
        left = set(inputs)
        while left:
            for number in inputs:
                if number not in left:
                    continue
                count = os.readv(number, [buffer])
                if count == 0:
                    left.discard(number)
                elif number == inputs[0]:
                    os.write(output, buffer[:count])
        if flush:
            os.fsync(output)
        for descriptor in (*inputs, output):
            os.close(descriptor)
    return time.perf_counter() - started


if __name__ == "__main__":
    print(copy(sys.argv[1], sys.argv[2] == "1", sys.argv[3:]))
