"""Random words that depend only on what they are drawn for: Philox 4x32-10, counter-based.

The uniform of a parameter is a function of (seed, expert name, tensor name, element index) alone, so a mask does not
change with the device, the number of threads, the block size, the shards or the other experts, and any part of it can
be drawn alone. DARE (arXiv 2311.03099, eq. 1) and DELLA (arXiv 2406.11617, section 2.2) keep a parameter when u < keep.

Philox 4x32-10: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 3.3.

    words = uniform_words(seed=1, expert="math", tensor="lm_head.weight", start=0, count=n, device="cpu")
"""

import torch
from torch import Tensor

from della.streams import stream_words

WORD_RANGE = 2**32
_LOW = WORD_RANGE - 1

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)  # of counter words 0 and 2
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)  # golden ratio and sqrt(3) - 1, added to the key after each round
_ROUNDS = 10

# A block of 1,024 elements takes 256 counters: lane q (output word q) fills the q-th quarter of the block, so that a
# kernel can compute many counters at once and write each output word to consecutive addresses.
BLOCK = 1024
LANE = 256
_COUNTERS_AT_ONCE = 64 * LANE  # keeps the intermediate values in a core's cache; does not change the words


def philox(counter: Tensor, key: tuple[int, int]) -> Tensor:
    """Philox 4x32-10 of each counter.

    Args:
        counter: int64 [4, n], each word in [0, 2**32).
        key: two words in [0, 2**32).

    Returns:
        int64 [4, n], the four output words of each counter, in [0, 2**32).
    """
    multipliers = torch.tensor(_MULTIPLIERS, device=counter.device).unsqueeze(1)
    steps = torch.tensor(_KEY_STEPS, device=counter.device) * torch.arange(_ROUNDS, device=counter.device).unsqueeze(1)
    round_keys = (torch.tensor(key, device=counter.device) + steps).bitwise_and_(_LOW).unsqueeze(2)  # [round, 2, 1]
    even, odd = counter[0::2], counter[1::2]  # words 0 and 2; words 1 and 3
    for round_key in round_keys.unbind():
        # Swapped here, because each product feeds the other half. A 64-bit product that wraps keeps all its bits.
        product = (even * multipliers).flip(0)
        even = (product >> 32).bitwise_and_(_LOW).bitwise_xor_(odd).bitwise_xor_(round_key)
        odd = product.bitwise_and_(_LOW)
    return torch.stack((even[0], odd[0], even[1], odd[1]))


def uniform_words(
    seed: int, expert: str, tensor: str, start: int, count: int, device: torch.device | str = "cpu"
) -> Tensor:
    """Random words of the elements start .. start + count - 1 of a tensor, in row-major order.

    Element i has block b = i // 1024 and place j = i % 1024; its word is output j // 256 of the 64-bit counter
    256 b + j % 256 in the stream of (seed, expert, tensor).

    Args:
        seed: of the mask, any integer.
        expert: the expert's name.
        tensor: the tensor's name.
        start: flat index of the first element, >= 0.
        count: how many, >= 0.
        device: where the words are made; they are the same on every device.

    Returns:
        int64 [count], uniform in [0, 2**32).
    """
    key_0, key_1, upper_0, upper_1 = stream_words(seed, expert, tensor)
    first_block, end_block = start // BLOCK, -(-(start + count) // BLOCK)
    counters = torch.arange(first_block * LANE, end_block * LANE, device=device)
    words = torch.empty((end_block - first_block, 4, LANE), dtype=torch.int64, device=device)  # [block, lane, place]
    pieces = zip(counters.split(_COUNTERS_AT_ONCE), words.split(_COUNTERS_AT_ONCE // LANE), strict=True)
    for index, piece in pieces:
        upper = [torch.full_like(index, word) for word in (upper_0, upper_1)]
        lanes = philox(torch.stack((index & _LOW, index >> 32, *upper)), (key_0, key_1))
        piece.copy_(lanes.view(4, len(piece), LANE).transpose(0, 1))
    skipped = start - first_block * BLOCK
    return words.view(-1)[skipped : skipped + count]


def keep_threshold(keep: Tensor) -> Tensor:
    """The integer t with (word < t) == (word / 2**32 < keep), exactly: t = ceil(keep * 2**32).

    Args:
        keep: float64, probabilities in [0, 1]; scaling by a power of two does not round.

    Returns:
        int64 of the same shape, in [0, 2**32].
    """
    return torch.ceil(keep * float(WORD_RANGE)).to(torch.int64)
