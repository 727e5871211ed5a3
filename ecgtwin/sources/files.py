"""SourceFolder: the files of an archive, in a local folder or an object store."""

import io
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from ecgtwin.errors import SourceError
from ecgtwin.store.objects import (
    PARALLEL_READS,
    is_s3,
    join,
    list_names,
    list_tree,
    object_exists,
    read_object,
)

Given = TypeVar("Given")
Found = TypeVar("Found")

_READ_AHEAD = 256  # requests under way or answered, and not yet taken


@dataclass(frozen=True, slots=True)
class SourceFolder:
    """A folder at ``url``: a path, ``file://`` or ``s3://``. Names inside it use ``/``."""

    url: str

    @property
    def is_remote(self) -> bool:
        """Say whether each file costs a request."""
        return is_s3(self.url)

    def read(self, name: str) -> bytes:
        """Return the content of a file. FileNotFoundError when it is not there."""
        return read_object(join(self.url, name))

    def read_all(self, names: Iterable[str]) -> Iterator[bytes | None]:
        """Yield the content of each file in order, None for one that is not there."""
        return self.map(self._read_or_none, names)

    def map(self, work: Callable[[Given], Found], given: Iterable[Given]) -> Iterator[Found]:
        """Yield ``work`` of each in order; several at a time where each waits for a request."""
        if not self.is_remote:
            yield from map(work, given)
            return
        waiting = iter(given)
        with ThreadPoolExecutor(PARALLEL_READS) as pool:
            while some := list(islice(waiting, _READ_AHEAD)):
                yield from pool.map(work, some)

    def exists(self, name: str) -> bool:
        """Say whether a file is there."""
        return object_exists(join(self.url, name))

    def names(self) -> list[str]:
        """Return the sorted names of the files directly inside; empty for a missing folder."""
        try:
            return list_names(self.url)
        except OSError:
            return []

    def tree(self, suffix: str = "") -> list[tuple[str, int]]:
        """Return name and size of the files at any depth that end with ``suffix``, sorted.

        Hidden files are left out. SourceError when there is no such folder.
        """
        try:
            found = list_tree(self.url)
        except FileNotFoundError:
            raise SourceError(f"source folder {self.url!r} does not exist") from None
        except NotADirectoryError:
            raise SourceError(f"source {self.url!r} is a file; give the folder") from None
        return [entry for entry in found if entry[0].endswith(suffix)]

    def open_table(self, name: str) -> io.StringIO:
        """Return the text of a UTF-8 table, for ``csv``; SourceError when it cannot be read."""
        try:
            return io.StringIO(self.read(name).decode("utf-8-sig"), newline="")
        except FileNotFoundError:
            raise SourceError(f"{join(self.url, name)} does not exist") from None
        except UnicodeDecodeError as error:
            raise SourceError(
                f"{join(self.url, name)} is not a UTF-8 table (byte {error.start})"
            ) from None

    def _read_or_none(self, name: str) -> bytes | None:
        try:
            return self.read(name)
        except FileNotFoundError:
            return None
