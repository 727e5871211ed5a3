"""Guards of the product taken out, one at a time, in the process that calls it.

Each is called before the command begins, in a forked process that ends with it.
"""

from collections.abc import Callable, Mapping

import s3fs.core

from ecgtwin.generation import making, numerics, prepare, worker
from ecgtwin.generation import run as generation_run
from ecgtwin.generation.numerics import Fingerprint
from ecgtwin.store import commit, manifest, s3, tables, writer
from ecgtwin.store.layout import manifest_name, object_name
from ecgtwin.store.objects import (
    is_s3,
    join,
    local_path,
    object_exists,
    replace_object,
)


def overwrites() -> None:
    """Put what there is to put, whatever is there."""

    def create(url: str, data: bytes) -> None:
        commit.stage("put", -1)
        replace_object(url, data)

    commit._create = create


def writes_in_place() -> None:
    """Write a new file where it belongs, without a temporary one."""

    def create(url: str, data: bytes) -> None:
        path = local_path(url)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(data[: len(data) // 2])
            file.flush()
            commit.stage("put", -1)
            file.write(data[len(data) // 2 :])

    commit._create = create


def believes_errors() -> None:
    """Take an error of the store for the whole truth: nothing is read back."""

    def put_new(url: str, data: bytes) -> bool:
        commit._create(url, data)
        return True

    _put_with(put_new)


def believes_in_success() -> None:
    """Take any error for the sign that the object is there already."""

    def put_new(url: str, data: bytes) -> bool:
        try:
            commit._create(url, data)
        except Exception:
            return False
        return True

    _put_with(put_new)


def _put_with(put_new: Callable[[str, bytes], bool]) -> None:
    for module in (commit, generation_run, numerics, prepare, tables, writer):
        module.put_new = put_new


def sweeps_nothing() -> None:
    """Leave the temporary files of killed writers."""
    commit._sweep = lambda url: None


def sweeps_all() -> None:
    """Remove every temporary file in the folder, of whatever object."""

    def sweep(url: str) -> None:
        if not is_s3(url):
            for path in local_path(url).parent.glob(".*"):
                path.unlink(missing_ok=True)

    commit._sweep = sweep


def believes_in_objects() -> None:
    """Take the object that stands there for the one to commit."""

    def put_part(url: str, index: int, name: str, data: bytes) -> bytes | None:
        if not object_exists(join(url, name)):
            commit.put_new(join(url, name), data)
        return None

    writer._put_part = put_part


def replaces_committed_objects() -> None:
    """Do not look whether a manifest stands before replacing an object of other bytes."""

    def put_part(url: str, index: int, name: str, data: bytes) -> bytes | None:
        replace_object(join(url, name), data)
        return None

    writer._put_part = put_part


def looks_not_back() -> None:
    """Do not read the object again behind the manifest."""
    writer._make_true = lambda *parts: None


def gives_nothing_back() -> None:
    """Leave what was put in place of a committed object."""
    writer._give_back = lambda *parts: None


def restores_what_was_deleted() -> None:
    """Put the object back behind the manifest, even where the manifest is another's by now."""

    def make_true(url: str, index: int, manifest_data: bytes, parts: Mapping[str, bytes]) -> None:
        for name, data in parts.items():
            replace_object(join(url, name), data)

    writer._make_true = make_true


def commits_first() -> None:
    """Put the manifest before what it speaks of."""
    put_part = writer._put_part

    def early(url: str, index: int, name: str, data: bytes) -> bytes | None:
        manifest_data = early_data.pop()
        commit.put_new(join(url, manifest_name(index)), manifest_data)
        commit.stage("manifest", index)
        return put_part(url, index, name, data)

    early_data: list[bytes] = []
    encode = writer.encode_manifest

    def encode_manifest(one: manifest.Manifest) -> bytes:
        early_data.append(encode(one))
        return early_data[-1]

    writer.encode_manifest, writer._put_part = encode_manifest, early


def resumes_by_objects() -> None:
    """Take a shard for done when its object is there."""

    def done(cohort: prepare.ResolvedCohort) -> set[int]:
        shards = cohort.plan.shards()
        return {
            shard.index
            for shard in shards
            if object_exists(join(cohort.url, object_name(shard.index)))
        }

    generation_run._done = done


def forgets_the_plan() -> None:
    """Do not look, before a commit, whether the cohort is still the one that was planned."""
    making.check_still_planned = lambda cohort: None


def takes_any_numerics() -> None:
    """Let a worker of any numerics in."""
    agree = worker.agree_on_numerics

    def agree_on_numerics(url: str, mine: Fingerprint, *, mixed: bool) -> None:
        agree(url, mine, mixed=True)

    worker.agree_on_numerics = agree_on_numerics


def takes_resets_for_refusals() -> None:
    """Take a connection that broke off for one that never stood."""
    s3._was_broken_off = lambda error: False


def lets_torn_bodies_through() -> None:
    """Do not turn the error of a body that breaks off into one of the store."""
    s3fs.core.S3_RETRYABLE_ERRORS = ()
