"""Watch: who is told what happens in a pool."""

from typing import Protocol

from ecgtwin.executors.protocol import Outcome


class Watch(Protocol):
    """Is told what happens in a pool."""

    def ended(self, outcome: Outcome) -> None:
        """Take note of the end of a shard."""

    def retried(self) -> None:
        """Take note of a shard that is given out again."""

    def has(self, *, in_flight: int, alive: int, starting: int) -> None:
        """Take note of what there is now: about once a second."""


class Unwatched:
    """Takes note of nothing."""

    def ended(self, outcome: Outcome) -> None:
        """Take no note."""

    def retried(self) -> None:
        """Take no note."""

    def has(self, *, in_flight: int, alive: int, starting: int) -> None:
        """Take no note."""
