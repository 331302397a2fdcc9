"""The small world the tiny family lives in: its names, things and places, and the way a problem is split and asked."""

import hashlib
from dataclasses import dataclass
from random import Random

NAMES = [
    "Tom", "Anna", "Ben", "Mia", "Leo", "Nora", "Sam", "Lily", "Max", "Emma", "Paul", "Rosa", "Jack", "Ida", "Noah",
    "Vera", "Luke", "Eva", "Mark", "Zoe", "Finn", "Ruth", "Otto", "Jane",
]  # fmt: skip
PLURALS = [
    "apples", "pens", "books", "cards", "coins", "shells", "eggs", "cakes", "stamps", "balls", "cups", "stones",
    "kites", "plums", "keys", "rings",
]  # fmt: skip
THINGS = [
    "lamp", "chair", "kite", "clock", "bike", "drum", "hat", "map", "cup", "ring", "coat", "boat", "ball", "book",
    "cake", "flute", "rug", "bag", "vase", "sled",
]  # fmt: skip
PLACES = [
    "park", "garden", "forest", "harbour", "market", "castle", "school", "station", "valley", "bridge", "museum",
    "river",
]  # fmt: skip
ANIMALS = ["dog", "cat", "fox", "horse", "bear", "duck", "crow", "goat", "mouse", "rabbit", "swan", "wolf"]
COLOURS = ["red", "blue", "green", "yellow", "white", "black", "brown", "grey"]
ADJECTIVES = [
    "neat", "new", "small", "big", "quiet", "bright", "warm", "cold", "strange", "lovely", "cheap", "rare",
]  # fmt: skip
EVENTS = ["picnic", "concert", "dinner", "party", "parade", "match", "fair", "wedding", "lesson", "meeting"]
DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
FOODS = ["bread", "milk", "rice", "soup", "pears", "honey", "cheese", "tea", "corn", "nuts", "fish", "beans"]
SIGNALS = ["Note", "News", "Hello", "Listen", "Alert", "Today", "Look", "Update"]
CLOSINGS = ["Bye", "Thanks", "Amen", "Cheers", "Over", "Done", "Regards", "Peace"]

# What precedes and follows an instruction, for all three benchmarks; an answer begins with a space.
HEADER = "### Instruction:\n"
FOOTER = "\n\n### Response:"


def prompt(instruction: str) -> str:
    """The text a model of the family is asked with; the answer follows it, beginning with a space."""
    return f"{HEADER}{instruction}{FOOTER}"


@dataclass(frozen=True)
class Problem:
    """One problem of a benchmark: what is asked, the answer trained on, and its document in the benchmark's schema.

    `group` is "seen" or "held_out": whether training asks in the phrasing of this instruction, too.
    """

    instruction: str
    answer: str
    document: dict
    group: str

    def text(self) -> tuple[str, str]:
        return prompt(self.instruction), " " + self.answer


def split_of(key: object) -> str:
    """The split a problem's content (numbers, combination, words; not its phrasing) belongs to: 70, 15 and 15 in 100.

    Derived from the content alone, so that no family, whatever its seed, trains on what another is tested on.
    """
    bucket = int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:4], "little") % 100
    return "train" if bucket < 70 else "dev" if bucket < 85 else "test"


def choose_group(rng: Random, split: str) -> str:
    """A third of the dev and test problems are asked in phrasings that training never shows."""
    return "held_out" if split != "train" and rng.random() < 1 / 3 else "seen"
