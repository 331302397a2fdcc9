"""What the hub has of a model: its files at a commit, with sizes and hashes, and what its refusals mean.

    listing = list_files(Source("meta-llama/Llama-2-13b-hf", "dc1d3b3..."))
    listing.files[0]            # Remote("config.json", bytes=610, sha256=None, blob="...")

Address and token are huggingface_hub's own: HF_ENDPOINT, HF_TOKEN or `hf auth login`. The token goes into the headers
of requests and nowhere else.
"""

import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from della.checkpoint import INDEX, LEGACY, LEGACY_INDEX, MODEL_FILES, SINGLE
from della.errors import InputError
from scripts.fetching.sources import Source

SECONDS = 10.0  # for the hub to begin an answer
ATTEMPTS = 6  # of one request that the hub answers with "later", or that breaks off without having brought anything
LATER = (408, 429, 500, 502, 503, 504)
WEIGHTS = (
    (SINGLE, INDEX, re.compile(r"model-\d+-of-\d+\.safetensors")),
    (LEGACY, LEGACY_INDEX, re.compile(r"pytorch_model-\d+-of-\d+\.bin")),
    ("adapter_model.safetensors", "adapter_config.json", None),
    ("adapter_model.bin", "adapter_config.json", None),
)
FILES = (
    "config.json, generation_config.json, the tokenizer's files, model*.safetensors (else pytorch_model*.bin) with "
    "their *.index.json"
)

Result = TypeVar("Result")


class Unreachable(InputError):
    """The hub does not answer; the message is the reason."""


@dataclass(frozen=True)
class Remote:
    """A file on the hub. sha256: of its content, where it is stored with its hash (large files); blob: git's SHA-1."""

    name: str
    bytes: int
    sha256: str | None
    blob: str


@dataclass(frozen=True)
class Listing:
    """The files of a model at a commit, those that are needed."""

    source: Source
    files: tuple[Remote, ...]


def client_errors() -> tuple[type[Exception], ...]:
    """What huggingface_hub raises: its own errors, and those of the client that this version of it uses."""
    from huggingface_hub.errors import HfHubHTTPError

    client: Any = HfHubHTTPError.__bases__[0]
    return (OSError, client)


def list_files(source: Source) -> Listing:
    """Asks the hub for a model's files at a revision; a branch becomes the commit that it is at.

    Raises:
        Unreachable: the hub does not answer, or HF_HUB_OFFLINE is set.
        InputError: there is no such repository or revision, it is gated, or it holds no model.
    """
    import huggingface_hub as hub  # half a second: not before something is fetched

    try:
        info = tried(
            lambda: hub.HfApi().model_info(source.repo, revision=source.revision, files_metadata=True, timeout=SECONDS)
        )
        remotes = {
            item.rfilename: Remote(
                item.rfilename, item.size or 0, item.lfs.sha256 if item.lfs else None, item.blob_id or ""
            )
            for item in info.siblings or ()
        }
        names = wanted(remotes, source)
        if info.gated:  # the list is open to everybody, the files are not: found out before anything is begun
            url = hub.hf_hub_url(source.repo, names[0], revision=info.sha)
            tried(lambda: hub.get_hf_file_metadata(url, timeout=SECONDS))
    except client_errors() as error:
        raise refusal(error, source) from None
    return Listing(Source(source.repo, info.sha or source.revision), tuple(remotes[name] for name in names))


def wanted(names: Iterable[str], source: Source) -> list[str]:
    """The files that make a model: config, tokenizer and weights, safetensors before pickles. Nothing in subfolders.

    Raises InputError where there are no weights of a kind that can be read.
    """
    there = set(names)
    for single, index, shard in WEIGHTS:
        shards = {name for name in there if shard and shard.fullmatch(name)}
        weights = {single} if single in there else shards
        if weights:
            beside = {index} if shards and single not in there else {"adapter_config.json"} & {index}
            return sorted(there & {*MODEL_FILES, *weights, *beside})
    raise InputError(f"{source}: holds neither {SINGLE} nor {LEGACY} nor shards of them; name a model's repository")


def status_of(error: Exception) -> int | None:
    """The HTTP status that an error stands for, if any."""
    return getattr(getattr(error, "response", None), "status_code", None)


def tried(ask: Callable[[], Result], attempts: int = ATTEMPTS, first_wait_s: float = 1.0) -> Result:
    """The answer, asked for again where the hub says "later" (LATER), after a doubling wait."""
    for attempt in range(attempts):
        try:
            return ask()
        except client_errors() as error:
            if status_of(error) not in LATER or attempt + 1 == attempts:
                raise
            time.sleep(first_wait_s * 2**attempt)
    raise AssertionError("at least one attempt")


def refusal(error: Exception, source: Source) -> InputError:
    """What a user reads of an error of the hub: one line, with what to do."""
    from huggingface_hub import constants, errors

    status = status_of(error)
    where = f"{constants.ENDPOINT}/{source.repo}"
    if isinstance(error, errors.OfflineModeIsEnabled):
        return Unreachable("HF_HUB_OFFLINE is set")
    if isinstance(error, errors.GatedRepoError):
        return InputError(
            f"{source.repo} is gated: accept its licence at {where} with your account, and set HF_TOKEN to a token of "
            "that account that may read gated repositories (or run `hf auth login`)"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return InputError(f"{source.repo} has no revision {source.revision}: write experts.hub.NAME=REPOSITORY@COMMIT")
    if isinstance(error, errors.RepositoryNotFoundError):
        return InputError(
            f"{source.repo}: the hub knows no such repository, or shows it only to some: check its name, or set "
            "HF_TOKEN to a token that may read it"
        )
    if status in (401, 403):
        return InputError(
            f"{source.repo}: the hub refuses (HTTP {status}); set HF_TOKEN to a token that may read {where}"
        )
    if status is not None and status not in LATER:
        return InputError(f"{source.repo}: the hub answers HTTP {status}; check its name and revision")
    return Unreachable(
        f"the hub answers HTTP {status}" if status else f"the hub cannot be reached, {type(error).__name__}"
    )
