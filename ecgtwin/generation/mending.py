"""What repair puts: right bytes in the place of wrong ones, each time with a note under ``runs/``.

Nothing else replaces an object that was committed.
"""

from ecgtwin.store.objects import join, read_object, replace_object
from ecgtwin.store.writer import record_replacement


def mend_object(url: str, name: str, data: bytes, *, shard: int | None = None) -> bool:
    """Put ``data`` at ``name`` of the cohort, unless it stands there; return whether it was put."""
    target = join(url, name)
    found: bytes | None
    try:
        found = read_object(target)
    except FileNotFoundError:
        found = None
    if found == data:
        return False
    replace_object(target, data)
    record_replacement(url, shard, name, found=found, put=data, event="repaired")
    return True
