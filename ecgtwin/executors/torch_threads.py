"""One torch thread inside a block, in as many threads of this process as are inside one."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

_lock = threading.Lock()
_num_inside = 0
_outside = 1  # what a new thread is given while nobody is inside


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Give torch one thread inside the block: its sums depend on the number of threads.

    Each thread that calls it has its own number back afterwards; threads that begin while anybody
    is inside have one. Work that first imports torch inside the block sets its threads itself.
    """
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = _enter(torch)
    try:
        yield
    finally:
        _leave(torch, before)


def _enter(torch: ModuleType) -> int:
    """Return this thread's number of torch threads, now 1."""
    global _num_inside, _outside
    with _lock:
        before: int = torch.get_num_threads()
        if _num_inside == 0:
            _outside = _in_a_new_thread(torch.get_num_threads)
        _num_inside += 1
        torch.set_num_threads(1)
        return before


def _leave(torch: ModuleType, before: int) -> None:
    """Give this thread its number back, and new threads theirs.

    ``set_num_threads`` sets the caller's number and that of threads which have not used torch yet.
    """
    global _num_inside
    with _lock:
        _num_inside -= 1
        torch.set_num_threads(before)
        of_new_threads = 1 if _num_inside else _outside
        if before != of_new_threads:
            _in_a_new_thread(lambda: torch.set_num_threads(of_new_threads))


def _in_a_new_thread(call: Callable[[], int | None]) -> int:
    found: list[int | None] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0] or 1
