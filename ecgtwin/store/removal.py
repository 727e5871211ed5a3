"""A stored cohort taken away, in an order that leaves no half of it looking like a whole one.

The index goes first, then the manifests: from the first of them on, the cohort is one that is not
finished. What says that it is a cohort goes last, so that the same call goes on from a kill.
"""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ecgtwin.errors import StoreError
from ecgtwin.store.layout import SIGNALS
from ecgtwin.store.leftovers import (
    Leftover,
    find_leftovers,
    object_left_by,
    remove_leftovers,
)
from ecgtwin.store.objects import delete_objects, is_s3, join, list_tree, local_path

# In the order of removal; what is named otherwise is somebody else's, inside our folders too.
_PARTS = tuple(
    re.compile(name)
    for name in (
        r"index/index\.json",
        r"index/(rows-\d+|cells)\.parquet",
        r"manifest/shard-\d+\.parquet",
        r"ledger/shard-\d+\.jsonl",
        rf"{re.escape(SIGNALS)}/((|time/|lead/|samples_mv/)zarr\.json|(time|lead)/c/\d+)",
        rf"{re.escape(SIGNALS)}/samples_mv/c/\d+/0/0",
        r"runs/(\d{8}T\d{6}Z-[0-9a-f]+/shards-\d+|replaced/(cohort|shard-\d+)-[0-9a-f]+)\.jsonl",
        r"text/[^/]+-[0-9a-f]+/[0-9a-f]+\.parquet",
        r"release\.json",
        r"numerics\.json",
        r"private/references\.parquet",
        r"plan/(patients|conditions)\.parquet",
        r"cohort\.json",
    )
)
_FOLDERS = ("index", "manifest", "ledger", SIGNALS, "runs", "text", "private", "plan")
_AT_ONCE = 1000  # as many as one request of S3 may name


@dataclass(frozen=True, slots=True)
class Removal:
    """What would go, in order: name and bytes. ``others`` are objects that are not a cohort's."""

    url: str
    objects: tuple[tuple[str, int], ...]
    others: tuple[str, ...]

    @property
    def num_bytes(self) -> int:
        """Bytes of what would go."""
        return sum(size for _, size in self.objects)

    def parts(self) -> dict[str, tuple[int, int]]:
        """Return objects and bytes by the first word of their names, in the order they go."""
        found: dict[str, tuple[int, int]] = {}
        for name, size in self.objects:
            part = name.partition("/")[0]
            num, total = found.get(part, (0, 0))
            found[part] = num + 1, total + size
        return found


def plan_removal(url: str) -> Removal:
    """Return what removing the cohort at ``url`` takes away.

    StoreError where nothing is there, or where a folder of it is a link to another place.
    """
    _refuse_links(url)
    try:
        found = list_tree(url)
    except (FileNotFoundError, NotADirectoryError):
        raise StoreError(f"{url} is not there; check the URL") from None
    places = {name: _place(name) for name, _ in found}
    ours = [(name, size) for name, size in found if places[name] is not None]
    others = tuple(name for name, place in places.items() if place is None)
    ordered = sorted(ours, key=lambda one: (places[one[0]], one[0]))
    return Removal(url, tuple(ordered), others)


def remove(removal: Removal, *, advance: Callable[[int], None] = lambda num: None) -> None:
    """Remove it, batch by batch; each part is gone before the next is begun."""
    for part in range(len(_PARTS)):
        names = [name for name, _ in removal.objects if _place(name) == part]
        for start in range(0, len(names), _AT_ONCE):
            batch = names[start : start + _AT_ONCE]
            delete_objects([join(removal.url, name) for name in batch])
            advance(len(batch))
    if not is_s3(removal.url):
        _remove_folders(removal.url)


def _refuse_links(url: str) -> None:
    """Raise StoreError where a folder is a link: what it holds would be left and not be said."""
    if is_s3(url):
        return
    for part in _FOLDERS:
        for folder in _folders_below(local_path(url) / part):
            if folder.is_symlink():
                raise StoreError(
                    f"{folder} is a link to {os.readlink(folder)}, which would be left; remove "
                    "what is there and the link, then run this again"
                )


def _folders_below(root: Path) -> Iterator[Path]:
    yield root
    for folder, names, _ in os.walk(root):
        yield from (Path(folder, name) for name in names)


def _place(name: str) -> int | None:
    """Return when ``name`` goes, None where it is not of a cohort."""
    for place, part in enumerate(_PARTS):
        if part.fullmatch(name):
            return place
    return None


def _remove_folders(url: str) -> None:
    """Remove temporary files of killed writers, and the folders that are empty now."""
    root = local_path(url)
    if not root.is_dir():
        return
    left = find_leftovers(str(root), older_than_s=0)
    remove_leftovers([one for one in left if _place(_object_of(one, root)) is not None])
    for part in _FOLDERS:
        _remove_empty(str(root / part))
    with suppress(OSError):  # something else is inside
        root.rmdir()


def _object_of(left: Leftover, root: Path) -> str:
    """Return the name of the object that a temporary file was to become."""
    path = Path(left.path).relative_to(root)
    return path.with_name(object_left_by(path.name) or path.name).as_posix()


def _remove_empty(folder: str) -> None:
    for path, _, _ in os.walk(folder, topdown=False):
        with suppress(OSError):
            os.rmdir(path)
