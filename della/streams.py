"""The name of a stream of random words, as four words of its own (della/random.py says how they are used)."""

import hashlib


def stream_words(seed: int, expert: str, tensor: str) -> tuple[int, int, int, int]:
    """The four words that name a stream: two for the key, two for the upper half of the counter.

    They are the first 16 bytes of SHA-256 over "seed NUL expert NUL tensor", read as little-endian 32-bit words.
    """
    digest = hashlib.sha256(f"{seed}\0{expert}\0{tensor}".encode()).digest()
    first, second, third, fourth = (int.from_bytes(digest[i : i + 4], "little") for i in (0, 4, 8, 12))
    return first, second, third, fourth
