"""Temporary files that writers left who were killed inside a commit.

On S3 a commit is one request, so nothing is left. A commit of the same object sweeps by itself;
these are of objects that nobody put again.
"""

import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from ecgtwin.errors import StoreError
from ecgtwin.store.objects import is_s3, join, local_errors, local_path, object_exists

_SIGNS = ("cohort.json", "private/references.parquet", "corpus.json", "twin.json")
_NAME = re.compile(r"\.(.+)[.~]\d+-[0-9a-f]{8}")  # as ``objects.write_temporary`` gives it


@dataclass(frozen=True, slots=True)
class Leftover:
    """A temporary file: its path, its size and how long ago it was written."""

    path: str
    num_bytes: int
    age_s: float


def check_is_of_ecgtwin(url: str) -> None:
    """Raise StoreError where nothing at ``url`` says that this package wrote there.

    Somebody else's hidden files may bear such names too.
    """
    if not is_s3(url) and not os.path.isdir(local_path(url)):
        raise StoreError(f"{url} is not there; check the URL")
    if not any(object_exists(join(url, name)) or _was_begun(url, name) for name in _SIGNS):
        raise StoreError(
            f"{url} holds no cohort, corpus or checkpoint (none of {', '.join(_SIGNS)} is there); "
            "nothing was removed: check the URL"
        )


def _was_begun(url: str, sign: str) -> bool:
    """Say whether a writer was killed while it wrote this object for the first time."""
    if is_s3(url):
        return False
    path = local_path(url) / sign
    with suppress(FileNotFoundError, NotADirectoryError):
        return any(object_left_by(name) == path.name for name in os.listdir(path.parent))
    return False


def object_left_by(name: str) -> str | None:
    """Return which object a temporary file of this name was to become, None: it is none."""
    found = _NAME.fullmatch(name)
    return found[1] if found else None


def find_leftovers(url: str, *, older_than_s: float) -> list[Leftover]:
    """Return the temporary files below ``url`` that are old enough to be nobody's, by path.

    StoreError where nothing is at ``url``.
    """
    if is_s3(join(url)):  # an empty URL would be the folder at hand
        return []
    root = str(local_path(url))
    if not os.path.isdir(root):
        raise StoreError(f"{url} is not there; check the URL")
    with local_errors(url):
        found = sorted(_below(root, time.time()), key=lambda one: one.path)
    return [one for one in found if one.age_s >= older_than_s]


def remove_leftovers(leftovers: list[Leftover]) -> None:
    """Remove them; one that is gone meanwhile is fine."""
    for one in leftovers:
        with local_errors(one.path), suppress(FileNotFoundError):
            os.unlink(one.path)


def _below(folder: str, now: float) -> Iterator[Leftover]:
    for entry in os.scandir(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _below(entry.path, now)
        elif _NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
            with suppress(FileNotFoundError):  # its writer has just made it an object
                found = entry.stat(follow_symlinks=False)
                yield Leftover(entry.path, found.st_size, now - found.st_mtime)
