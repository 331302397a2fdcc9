"""A family's models from the hub into folders, checked, whole or not there at all.

    fetch_family(config.experts, Path(".work"), pin=False, told=print)

What is there and recorded is only hashed again. A model is fetched into a hidden folder beside its own, file by file,
and renamed when every file has the hub's hash. Stopped at any moment, the same command goes on.
"""

import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event
from threading import Lock as Mutex

from tqdm import tqdm

from della.errors import InputError
from della.hashes import files_sha256
from della.lock import BusyError, Lock
from della.room import existing_parent
from scripts.fetching.hub import FILES, Listing, Remote, Unreachable, list_files
from scripts.fetching.recorded import File, Held, check_content, check_sizes, read_lock, write_lock
from scripts.fetching.sources import Named, Place, Source, home_of, lock_of, places_of
from scripts.fetching.transfer import Stopped, fetch_file, partial_of, sha256_checked

PARALLEL = 4  # files at a time
SPARE = 2**30  # bytes that are left free

Told = Callable[[str], object]


def fetch_family(experts: Named, work: Path, pin: bool, told: Told) -> None:
    """Fetches what is missing of a family, and checks what is there against what was fetched.

    Args:
        pin: take a branch's newest commit where nothing was fetched from it yet, and keep to it from then on.
        told: called with lines for the user.

    Raises:
        InputError: a model cannot be had (what to put where was told before), is not what was fetched, or there is
            not enough room.
    """
    home = home_of(experts, work)
    held = read_lock(lock_of(home))
    places = [place for place in places_of(experts, work) if place.source is not None]
    for place in places:
        if place.name in held and is_whole(place, held[place.name]):
            check_sizes(place, held)
    done = [place for place in places if place.name in held and is_whole(place, held[place.name])]
    _check(done, held, experts.family)
    todo = [place for place in places if place not in done]
    if todo:
        asked = {place.name: revision_of(place, held, pin) for place in todo}
        try:
            listings = {name: list_files(source) for name, source in asked.items()}
        except Unreachable as error:
            return without_hub(todo, asked, error, told)
        check_room(home, todo, listings)
        _fetch(experts.family, home, todo, listings, held, told)
    for place in done:
        told(f"{place.name}: {held[place.name].source} in {place.folder}, as it was fetched")


def is_whole(place: Place, model: Held) -> bool:
    """Whether every file that was fetched is there; another commit's folder counts, for the user to decide about."""
    return place.folder.is_dir() and all((place.folder / name).is_file() for name in model.files)


def revision_of(place: Place, held: Mapping[str, Held], pin: bool) -> Source:
    """The revision to ask for. Raises InputError for a branch that nothing was fetched from, without pin."""
    source = place.source
    assert source is not None
    if place.name in held and held[place.name].serves(source):
        return held[place.name].source
    if not source.is_pinned and not pin:
        raise InputError(
            f"{place.name}: {source} is a branch, which moves: write pin=true to take its newest commit and keep to "
            f"it, or experts.hub.{place.name}={source.repo}@COMMIT"
        )
    return source


def without_hub(todo: list[Place], asked: Mapping[str, Source], reason: Unreachable, told: Told) -> None:
    """Says what to put where. Raises InputError unless all folders are there: put by hand, they are taken unchecked."""
    missing = [place for place in todo if not place.folder.is_dir()]
    for place in todo:
        if place not in missing:
            told(f"{place.name}: {place.folder} is there; not compared with {asked[place.name]}, since {reason}")
    if not missing:
        return
    for place in missing:
        told(f"put {asked[place.name].repo} at revision {asked[place.name].revision} into {place.folder}: {FILES}")
    raise InputError(
        f"{reason}: put the models where the lines above say, name other folders (experts.models.NAME=DIR), or run "
        "this where the hub can be reached and copy what it makes"
    )


def check_room(home: Path, todo: list[Place], listings: Mapping[str, Listing]) -> None:
    """Raises InputError where the disk has less room than what is still to come."""
    needed = sum(file.bytes - _there(place, file) for place in todo for file in listings[place.name].files)
    free = shutil.disk_usage(existing_parent(home / "x")).free
    if needed and needed + SPARE > free:
        raise InputError(
            f"{home}: {needed / 1e9:.1f} GB to fetch and {free / 1e9:.1f} GB free; free some, or write "
            "experts.path=DIR on a larger disk"
        )


def _staging(place: Place) -> Path:
    return place.folder.with_name(f".{place.name}.fetching")


def _there(place: Place, file: Remote) -> int:
    """Bytes of a file that are there, in whichever folder."""
    paths = [place.folder / file.name, _staging(place) / file.name, partial_of(_staging(place), file)]
    return min(file.bytes, max((path.stat().st_size for path in paths if path.is_file()), default=0))


def _check(done: list[Place], held: Mapping[str, Held], family: str) -> None:
    total = sum(file.bytes for place in done for file in held[place.name].files.values())
    with tqdm(total=total, desc=f"{family}: checking", unit="B", unit_scale=True, disable=None, leave=False) as bar:
        for place in done:
            check_content(place, held[place.name], bar.update)


def _fetch(
    family: str,
    home: Path,
    todo: list[Place],
    listings: Mapping[str, Listing],
    held: dict[str, Held],
    told: Told,
) -> None:
    """Fetches models one after the other; each is recorded when it is whole."""
    home.parent.mkdir(parents=True, exist_ok=True)
    try:
        lock = Lock(home)
    except BusyError as error:
        raise InputError(f"{home}: {error} is fetching into it; wait for that one") from None
    total = sum(file.bytes for place in todo for file in listings[place.name].files)
    there = sum(_there(place, file) for place in todo for file in listings[place.name].files)
    try:
        with tqdm(
            total=total, initial=there, desc=f"{family}: fetching", unit="B", unit_scale=True, disable=None, leave=False
        ) as bar:
            for place in todo:
                listing = listings[place.name]
                held[place.name] = fetch_model(place, listing, bar.update)
                write_lock(lock_of(home), held)
                size = sum(file.bytes for file in listing.files) / 1e9
                told(f"{place.name}: {listing.source} in {place.folder}, {len(listing.files)} files, {size:.2f} GB")
    finally:
        lock.release()


def fetch_model(place: Place, listing: Listing, count: Callable[[int], object]) -> Held:
    """One model, whole: what is missing is fetched, what is there must be the hub's.

    Raises InputError as `fetch_file` does, and for a file of another content.
    """
    folder, staging = place.folder, _staging(place)
    missing = [file for file in listing.files if not (folder / file.name).is_file()]
    if missing and folder.is_dir() and not staging.exists():
        folder.rename(staging)  # it lost files: it is not a model until they are back
    if missing:
        staging.mkdir(exist_ok=True)
        folder = staging
    found = {file.name: _present(folder, file, place, listing) for file in listing.files}
    lacking = [file for file in listing.files if found[file.name] is None]
    _fetch_files(listing.source, lacking, folder, count)
    digests = files_sha256([folder / file.name for file in listing.files])
    files = {file.name: File(file.bytes, digest) for file, digest in zip(listing.files, digests, strict=True)}
    if folder is staging:
        for left in staging.glob(".*.incomplete"):  # of another commit
            left.unlink()
        staging.rename(place.folder)
    return Held(listing.source.repo, listing.source.revision, files)


def _present(folder: Path, file: Remote, place: Place, listing: Listing) -> str | None:
    """The hash of a file that is there already; None where it is not. Raises InputError for another content."""
    path = folder / file.name
    if not path.is_file():
        return None
    digest = sha256_checked(path, file)
    if digest is None:
        raise InputError(
            f"{path}: is not {file.name} of {listing.source}; remove it to have it fetched, or name the folder as "
            f"experts.{'base' if place.name == 'base' else f'models.{place.name}'}={folder} to take it as it is"
        )
    return digest


def _fetch_files(source: Source, files: list[Remote], folder: Path, count: Callable[[int], object]) -> None:
    """Several files at a time; the first that cannot be had stops the others where they are."""
    stop, mutex = Event(), Mutex()

    def counted(number: int) -> None:
        with mutex:
            count(number)

    with ThreadPoolExecutor(PARALLEL) as pool:
        running = [pool.submit(fetch_file, source, file, folder, counted, stop) for file in files]
        try:
            wait(running, return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
            for job in running:
                job.cancel()
    errors = [error for job in running if not job.cancelled() and (error := job.exception())]
    if errors:
        raise next((error for error in errors if not isinstance(error, Stopped)), errors[0])
