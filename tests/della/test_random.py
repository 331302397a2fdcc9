"""Philox words: the published vectors, and that a word depends on nothing but what it is drawn for."""

import hashlib

import pytest
import torch

from della.random import keep_threshold, philox, uniform_words

ONES = 0xFFFFFFFF


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ([0, 0, 0, 0], (0, 0), [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([ONES] * 4, (ONES, ONES), [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            (0xA4093822, 0x299F31D0),
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_the_known_answers_of_random123(counter, key, words):
    """The three philox4x32-10 lines of the kat_vectors file of Random123."""
    assert philox(torch.tensor(counter).unsqueeze(1), key).flatten().tolist() == words


def test_element_1300_is_lane_1_place_20_of_block_1():
    """1300 = 1024 + 256 + 20: block 1, lane 1, place 20, so output word 1 of counter 256 * 1 + 20 = 276.

    Key and upper counter words are the first four little-endian words of SHA-256 of "7 NUL math NUL w".
    """
    digest = hashlib.sha256(b"7\0math\0w").digest()
    w = [int.from_bytes(digest[4 * i : 4 * i + 4], "little") for i in range(4)]
    lanes = philox(torch.tensor([[276], [0], [w[2]], [w[3]]]), (w[0], w[1]))
    assert int(uniform_words(7, "math", "w", 1300, 1)) == int(lanes[1, 0])


@pytest.mark.parametrize(
    ("start", "count"), [(0, 0), (5, 0), (0, 1), (1023, 2), (1024, 1024), (300, 70_000), (99_999, 1)]
)
def test_a_part_of_a_stream_is_the_same_drawn_alone(start, count):
    assert torch.equal(
        uniform_words(1, "lm", "x", start, count), uniform_words(1, "lm", "x", 0, 100_000)[start : start + count]
    )


def test_the_counter_carries_into_its_second_word():
    """Element 2**34 has counter 2**34 / 4 = 2**32: the low word is 0 and the next one 1."""
    digest = hashlib.sha256(b"1\0lm\0x").digest()
    w = [int.from_bytes(digest[4 * i : 4 * i + 4], "little") for i in range(4)]
    assert int(uniform_words(1, "lm", "x", 2**34, 1)) == int(
        philox(torch.tensor([[0], [1], [w[2]], [w[3]]]), (w[0], w[1]))[0]
    )


def test_seed_expert_and_tensor_each_change_the_words():
    words = uniform_words(1, "lm", "x", 0, 8)
    for other in [(2, "lm", "x"), (1, "math", "x"), (1, "lm", "y"), (1, "lmx", "")]:
        assert not torch.equal(words, uniform_words(*other, 0, 8))


def test_words_are_uniform_in_mean_and_in_every_bit():
    """2**20 words: the mean of u has standard error 0.2887 / 1024 = 0.00028, a bit's frequency 0.00049; 5 of each."""
    words = uniform_words(3, "lm", "x", 0, 2**20)
    assert abs(float(words.double().mean()) / 2**32 - 0.5) < 0.0015
    for bit in range(32):
        assert abs(float((words >> bit & 1).double().mean()) - 0.5) < 0.0025


def test_the_threshold_compares_exactly_as_the_uniform_does():
    """0.5 -> 2**31 exactly; 2**-32 -> 1; a little more than 2**-32 -> 2, since word 1 is then below; 1 keeps all."""
    keep = torch.tensor([0.5, 2.0**-32, 2.0**-32 * (1 + 2.0**-40), 1.0, 0.0], dtype=torch.float64)
    assert keep_threshold(keep).tolist() == [2**31, 1, 2, 2**32, 0]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_words_are_the_same_on_a_gpu():
    assert torch.equal(uniform_words(1, "lm", "x", 5, 100_000, "cuda").cpu(), uniform_words(1, "lm", "x", 5, 100_000))
