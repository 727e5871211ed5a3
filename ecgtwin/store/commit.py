"""put_new: the one way to commit. Nothing it wrote is ever written again.

S3: a single PUT with If-None-Match ``*``. Files: temporary file, fsync, link, fsync of the folder.
"""

import os
import re
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from ecgtwin.errors import CommitConflictError
from ecgtwin.store.objects import (
    is_s3,
    local_errors,
    local_path,
    read_object,
    sync_folder,
    write_temporary,
)
from ecgtwin.store.s3 import S3Location, error_code, filesystem, s3_errors, was_never_sent

HOOK_VARIABLE = "ECGTWIN_COMMIT_HOOK"
TRIES = 3

# The store answers these while somebody else's request is in flight; nothing was decided.
_UNDECIDED = ("ConditionalRequestConflict", "OperationAborted", "SlowDown", "ServiceUnavailable")


def put_new(url: str, data: bytes) -> bool:
    """Create the object ``url`` holding ``data``; return whether this call created it.

    The same bytes already there are fine (False). Other bytes raise CommitConflictError. Whatever
    the store answered, what it holds decides; if it holds nothing, the store's error is raised.
    """
    for attempt in range(TRIES):
        try:
            _create(url, data)
        except Exception as error:
            if is_s3(url) and was_never_sent(error):
                raise
            found = _read_back(url, error)
            if found is None:
                if error_code(error) in _UNDECIDED and attempt + 1 < TRIES:
                    continue
                raise
            if found != data:
                raise CommitConflictError(
                    f"{url} already holds other bytes ({len(found)} found, {len(data)} to commit); "
                    "it was left as it is: choose another URL, or delete what is there"
                ) from error
            _sweep(url)
            return False
        _sweep(url)
        return True
    raise AssertionError("unreachable")


def _create(url: str, data: bytes) -> None:
    if is_s3(url):
        place = S3Location.of(url)
        with s3_errors(place):
            filesystem().call_s3(
                "put_object", Bucket=place.bucket, Key=place.key, Body=data, IfNoneMatch="*"
            )
        return
    with local_errors(url):
        path = local_path(url)
        temporary = write_temporary(path, data)
        stage("put", -1)
        try:
            os.link(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(path.parent)


def stage(name: str, shard_index: int) -> None:
    """Mark a step inside a shard's commit; a no-op unless a fault test names a hook.

    ``ECGTWIN_COMMIT_HOOK="module:function"`` is called with (name, shard_index) after each of
    "encoded", "object", "ledger" and "manifest", and with ("put", -1) between a local commit's
    temporary file and its link.
    """
    hook = os.environ.get(HOOK_VARIABLE)
    if hook:
        module, _, function = hook.partition(":")
        getattr(import_module(module), function)(name, shard_index)


def _read_back(url: str, error: Exception) -> bytes | None:
    try:
        return read_object(url)
    except FileNotFoundError:
        return None
    except Exception:  # the store is unreachable: the first error says it best
        raise error from None


def _sweep(url: str) -> None:
    """Remove temporary files that killed writers of ``url`` left; its bytes are decided now."""
    if is_s3(url):
        return
    path: Path = local_path(url)
    mine = re.compile(rf"\.{re.escape(path.name)}\.\d+-[0-9a-f]+")
    with suppress(OSError):
        for entry in os.scandir(path.parent):
            if mine.fullmatch(entry.name):
                with suppress(FileNotFoundError):
                    os.unlink(entry.path)
