"""Where the lines of a training run go. A reporter takes one JSON-able dictionary a line."""

import json
from collections.abc import Callable
from pathlib import Path

Line = dict[str, object]
Reporter = Callable[[Line], None]


class JsonLines:
    """Append every line to a file, and flush it: a killed run keeps its log."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, line: Line) -> None:
        """Write one line."""
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")


def tee(*reporters: Reporter) -> Reporter:
    """Return a reporter that hands each line to all ``reporters``."""

    def report(line: Line) -> None:
        for reporter in reporters:
            reporter(line)

    return report


def silent(line: Line) -> None:
    """Report nothing: for every rank but 0."""
