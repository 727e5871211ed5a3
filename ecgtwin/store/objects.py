"""Objects at URLs: read, list, replace, delete. Local paths, ``file://`` and ``s3://``.

Endpoint and keys come from the usual AWS variables (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, ...).
Committing is not here: only ``store.commit.put_new`` creates what must not be overwritten.
"""

import os
import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from ecgtwin.errors import StoreError
from ecgtwin.store.s3 import S3Location, error_code, filesystem, s3_errors

PARALLEL_READS = 8


def join(url: str, *parts: str) -> str:
    """Return ``url`` with ``parts`` appended, one slash between."""
    if not url:
        raise StoreError("an empty URL names no place; write a folder or s3://bucket/folder")
    base = url.rstrip("/")
    if "://" in url and "://" not in base:
        raise StoreError(f"{url} names no bucket or folder; write s3://bucket/folder")
    return "/".join([base, *(part.strip("/") for part in parts)])


def is_s3(url: str) -> bool:
    """Say whether ``url`` lies in an object store; StoreError unless it is ``s3`` or a file."""
    scheme, separator, _ = url.partition("://")
    if url.startswith("s3:") and not separator:
        raise StoreError(f"{url}: write s3://bucket/folder, or ./{url} for a folder of that name")
    if separator and scheme not in ("s3", "file"):
        raise StoreError(
            f"{url}: the scheme {scheme!r} is not supported; "
            "use a path, file:///folder or s3://bucket/folder"
        )
    return bool(separator) and scheme == "s3"


def local_path(url: str) -> Path:
    """Return the path that a local URL names."""
    if is_s3(url):
        raise StoreError(f"{url} is not a local folder")
    return Path(url.removeprefix("file://"))


def absolute_url(url: str) -> str:
    """Return ``url`` as another process of the machine finds it, whatever its folder."""
    return url if is_s3(url) else str(local_path(url).absolute())


def read_object(url: str) -> bytes:
    """Return the bytes at ``url``. FileNotFoundError when nothing is there."""
    if is_s3(url):
        place = S3Location.of(url)
        with s3_errors(place):
            return bytes(filesystem().cat_file(str(place), max_concurrency=1))
    with local_errors(url):
        return local_path(url).read_bytes()


def read_if_there(url: str) -> bytes | None:
    """Return the bytes at ``url``, None when nothing is there."""
    try:
        return read_object(url)
    except FileNotFoundError:
        return None


def read_objects(urls: Sequence[str]) -> Iterator[bytes]:
    """Yield the bytes of each URL in order, several requests at a time."""
    if len(urls) < 2 or not is_s3(urls[0]):
        yield from map(read_object, urls)
        return
    with ThreadPoolExecutor(PARALLEL_READS) as pool:
        yield from pool.map(read_object, urls)


def object_exists(url: str) -> bool:
    """Say whether an object is at ``url``."""
    if not is_s3(url):
        with local_errors(url):
            return local_path(url).is_file()
    place = S3Location.of(url)
    try:
        # A GET of one byte, not a HEAD: only a body tells a missing key from a missing bucket.
        with s3_errors(place):
            filesystem().cat_file(str(place), start=0, end=1)
    except FileNotFoundError:
        return False
    except StoreError as error:
        if error_code(error) in ("InvalidRange", "416"):  # an empty object
            return True
        raise
    return True


def list_names(url: str) -> list[str]:
    """Return the sorted names of the objects directly inside folder ``url``; empty when absent."""
    if is_s3(url):
        return sorted(_s3_names(S3Location.of(join(url, ""))))
    with local_errors(url):
        try:
            entries = os.scandir(local_path(url))
        except FileNotFoundError:
            return []
        # A leading dot marks the temporary files of ``put_new``.
        with entries:
            return sorted(
                entry.name for entry in entries if entry.name[0] != "." and entry.is_file()
            )


def list_tree(url: str) -> list[tuple[str, int]]:
    """Return name and size of every object below folder ``url``, at any depth, sorted by name.

    Names are relative to ``url``; those with a part that begins with a dot are left out.
    FileNotFoundError when nothing is there, NotADirectoryError when it is a file.
    """
    if is_s3(url):
        place = S3Location.of(join(url, ""))
        found = [entry for entry in _s3_objects(place, "") if "/." not in f"/{entry[0]}"]
        if not found:
            raise FileNotFoundError(url)
        return sorted(found)
    root = local_path(url)
    if root.is_file():
        raise NotADirectoryError(url)
    with local_errors(url):
        return sorted(_local_tree(str(root), ""))


def replace_object(url: str, data: bytes) -> None:
    """Put ``data`` at ``url``, whatever was there, in one step."""
    if is_s3(url):
        place = S3Location.of(url)
        with s3_errors(place):
            filesystem().call_s3("put_object", Bucket=place.bucket, Key=place.key, Body=data)
        return
    with local_errors(url):
        path = local_path(url)
        temporary = write_temporary(path, data, mark="~")  # not for put_new to sweep away
        try:
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def delete_object(url: str) -> None:
    """Remove the object at ``url``; nothing happens when there is none."""
    if is_s3(url):
        place = S3Location.of(url)
        with s3_errors(place):
            filesystem().call_s3("delete_object", Bucket=place.bucket, Key=place.key)
        return
    with local_errors(url):
        local_path(url).unlink(missing_ok=True)


def delete_objects(urls: Sequence[str]) -> None:
    """Remove several objects, 1000 at most, of one bucket; absent ones are fine."""
    if not urls or not is_s3(urls[0]):
        for url in urls:
            delete_object(url)
        return
    places = [S3Location.of(url) for url in urls]
    keys = [{"Key": place.key} for place in places]
    with s3_errors(places[0]):
        answer = filesystem().call_s3(
            "delete_objects", Bucket=places[0].bucket, Delete={"Objects": keys, "Quiet": True}
        )
    for error in answer.get("Errors", ())[:1]:
        raise StoreError(
            f"s3://{places[0].bucket}/{error.get('Key')} was not deleted ({error.get('Code')}: "
            f"{error.get('Message')}); check the bucket's permissions"
        )


def write_temporary(path: Path, data: bytes, *, mark: str = ".") -> Path:
    """Write ``data`` safely to a hidden file beside ``path`` and return that file."""
    _make_folder(path.parent)
    temporary = path.with_name(f".{path.name}{mark}{os.getpid()}-{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:  # a full disk most of all needs the room
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def sync_folder(folder: Path) -> None:
    """Make the names inside ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    with suppress(FileExistsError):
        folder.mkdir()
        sync_folder(folder.parent)


def _local_tree(folder: str, prefix: str) -> Iterator[tuple[str, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir():
                # a link to a folder above would never end
                if not entry.is_symlink():
                    yield from _local_tree(entry.path, f"{prefix}{entry.name}/")
            elif entry.is_file():
                yield f"{prefix}{entry.name}", entry.stat().st_size


def _s3_names(place: S3Location) -> Iterator[str]:
    return (name for name, _ in _s3_objects(place, "/"))


def _s3_objects(place: S3Location, delimiter: str) -> Iterator[tuple[str, int]]:
    """Yield name below ``place`` and size of its objects, those behind ``delimiter`` left out."""
    token: dict[str, str] = {"Delimiter": delimiter} if delimiter else {}
    while True:
        with s3_errors(place):
            page = filesystem().call_s3(
                "list_objects_v2", Bucket=place.bucket, Prefix=place.key, **token
            )
        for entry in page.get("Contents", ()):
            if name := entry["Key"].removeprefix(place.key):
                yield name, int(entry["Size"])
        if not page.get("IsTruncated"):
            return
        token["ContinuationToken"] = page["NextContinuationToken"]


def store_errors(url: str) -> AbstractContextManager[None]:
    """Return the context in which the failures of the store that holds ``url`` are explained."""
    return s3_errors(S3Location.of(url)) if is_s3(url) else local_errors(url)


@contextmanager
def local_errors(url: str) -> Iterator[None]:
    """Turn an operating system's refusal into a StoreError; absence and presence pass through."""
    try:
        yield
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError as error:
        raise StoreError(
            f"{url}: {error.strerror or error}; check the path, its permissions and the free space"
        ) from error
