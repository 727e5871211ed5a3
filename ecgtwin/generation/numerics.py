"""The numerics fingerprint: under one fingerprint a shard made again has the same bytes."""

import json
import platform
from importlib.metadata import version

import torch

from ecgtwin.errors import CohortMismatchError, CommitConflictError, DamageError
from ecgtwin.generation.description import NUMERICS
from ecgtwin.store.commit import put_new
from ecgtwin.store.manifest import committed_shards
from ecgtwin.store.objects import join, object_exists, read_if_there

# The bytes of an object depend on these too.
_ENCODERS = ("ecgtwin", "numcodecs", "numpy", "pyarrow", "scipy", "zarr")

_LOST = "`ecgtwin cohort repair` writes it again where it was made, or restore it from a copy"

Fingerprint = dict[str, str | int | bool | None]


def settle_numerics() -> None:
    """Ask torch for the same sums each time: no autotuned kernels, no TF32."""
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def device_at_hand() -> str:
    """Return ``cuda`` where there is a GPU, or else ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def device_kind(device: torch.device) -> str:
    """Return ``cpu``, or the name of the GPU: by this rates are known."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def fingerprint(device: torch.device, *, batch_rows: int) -> Fingerprint:
    """Return what the bytes of a shard depend on, beside weights, plan and input."""
    on_gpu = device.type == "cuda"
    kind = torch.cuda.get_device_name(device) if on_gpu else torch.backends.cpu.get_cpu_capability()
    return {
        "device": f"{device.type} {platform.machine()} {kind}",
        "torch": torch.__version__,
        "cuda": torch.version.cuda if on_gpu else None,
        "cudnn": _cudnn_version() if on_gpu else None,
        **{name: version(name) for name in _ENCODERS},
        "precision": "float32",
        "tf32": on_gpu
        and (torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32),
        "threads": torch.get_num_threads(),
        "batch_rows": batch_rows,
    }


def _cudnn_version() -> int | None:
    found: int | None = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
    return found


def encode_fingerprint(mine: Fingerprint) -> bytes:
    """Return the bytes that fix a fingerprint."""
    return (json.dumps(mine, indent=1, sort_keys=True) + "\n").encode()


def agree_on_numerics(url: str, mine: Fingerprint, *, mixed: bool) -> None:
    """Fix the cohort's fingerprint, or check that ``mine`` is it; ``mixed`` lets others pass.

    A lost one is not fixed anew by ``mixed``: what is committed may be of another. Raises
    CohortMismatchError saying what differs.
    """
    if mixed and not object_exists(join(url, NUMERICS)) and committed_shards(url):
        return
    try:
        put_new(join(url, NUMERICS), encode_fingerprint(mine))
        return
    except CommitConflictError:
        if mixed:
            return
    differing = "; ".join(differing_numerics(url, mine))
    raise CohortMismatchError(
        f"{url} was begun with other numerics: {differing}; go on where it was begun, "
        "or pass --mixed-numerics to accept the same ECGs with other low bits"
    )


def check_fixed(url: str) -> None:
    """Raise DamageError where there is no fingerprint: for who has seen committed shards."""
    if not object_exists(join(url, NUMERICS)):
        raise DamageError(f"{join(url, NUMERICS)} is missing, though shards are committed; {_LOST}")


def differing_numerics(url: str, mine: Fingerprint) -> list[str]:
    """Return in words each thing in which ``mine`` is not the fingerprint of the cohort."""
    theirs = _fixed(url)
    return [
        f"{name} is {mine.get(name)!r} here and {theirs.get(name)!r} there"
        for name in sorted(mine.keys() | theirs.keys())
        if mine.get(name) != theirs.get(name)
    ]


def _fixed(url: str) -> Fingerprint:
    name = join(url, NUMERICS)
    data = read_if_there(name)
    if data is None:
        raise DamageError(f"{name} is missing; {_LOST}")
    try:
        return dict(json.loads(data))
    except (TypeError, ValueError) as error:
        raise DamageError(f"{name} is damaged: {error}; restore it from a copy") from error
