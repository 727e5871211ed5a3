"""One torch thread for everybody inside, and for each his own number afterwards."""

import threading
from collections.abc import Callable, Iterator

import pytest
import torch

from ecgtwin.executors.torch_threads import one_torch_thread


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def in_a_thread(call: Callable[[], int]) -> int:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(call()))
    thread.start()
    thread.join()
    return found[0]


def test_blocks_nest_and_the_caller_has_its_own_back() -> None:
    with one_torch_thread():
        with one_torch_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 1
        assert in_a_thread(torch.get_num_threads) == 1
    assert torch.get_num_threads() == 3
    assert in_a_thread(torch.get_num_threads) == 3


class Neighbour:
    """A thread that is inside until it is told to leave."""

    def __init__(self) -> None:
        self.found: list[int] = []
        self._entered, self._may_leave = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._stay)

    def enter(self) -> None:
        self._thread.start()
        assert self._entered.wait(60)

    def leave(self) -> None:
        self._may_leave.set()
        self._thread.join()

    def _stay(self) -> None:
        with one_torch_thread():
            self._entered.set()
            assert self._may_leave.wait(60)
            self.found = [torch.get_num_threads(), in_a_thread(torch.get_num_threads)]


def test_a_neighbour_that_stays_keeps_its_one_thread() -> None:
    neighbour = Neighbour()
    with one_torch_thread():
        neighbour.enter()
    assert torch.get_num_threads() == 3
    neighbour.leave()
    assert neighbour.found == [1, 1]
    assert in_a_thread(torch.get_num_threads) == 3


def test_a_neighbour_that_leaves_first_takes_nothing_with_it() -> None:
    neighbour = Neighbour()
    with one_torch_thread():
        neighbour.enter()
        neighbour.leave()
        assert torch.get_num_threads() == in_a_thread(torch.get_num_threads) == 1
    assert torch.get_num_threads() == in_a_thread(torch.get_num_threads) == 3
