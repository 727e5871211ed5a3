"""Where the lines of a training run go. A reporter takes one JSON-able dictionary a line.

tensorboard's only home; a machine without it trains all the same.
"""

import json
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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


class TensorBoard:
    """Write the numbers of the lines to event files, and images; one folder a stage.

    A process appends to a file of its own, which is closed after each line. A line with
    ``num_steps`` begins a stage at its ``step``: what an earlier process wrote of later steps is
    no longer shown. Raises ModuleNotFoundError where tensorboard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self.folder, self._event = Path(folder), Event
        self._name = f"events.out.tfevents.{time.time_ns()}.{socket.gethostname()}.{os.getpid()}"
        self._start_steps: dict[str, int] = {}

    def __call__(self, line: Line) -> None:
        """Write the numbers of one line; one without stage, step or number is passed over."""
        stage, step = line.get("stage"), line.get("step")
        if not isinstance(stage, str) or not isinstance(step, int):
            return
        if "num_steps" in line:
            self._start_steps[stage] = step
            return
        named = _numbers({name: line[name] for name in line if name not in ("stage", "step")})
        scalars = [{"tag": tag, "simple_value": value} for tag, value in named]
        if scalars:
            self._write(stage, step, scalars)

    def image(self, stage: str, step: int, png: bytes) -> None:
        """Write an image under the name ``panel``."""
        width, height = struct.unpack(">II", png[16:24])
        image = {"width": width, "height": height, "colorspace": 3, "encoded_image_string": png}
        self._write(stage, step, [{"tag": "panel", "image": image}])

    def _write(self, stage: str, step: int, values: list[dict[str, Any]]) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        path = self.folder / stage / self._name
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        with path.open("ab") as file:
            records = RecordWriter(file)
            for event in self._begin(stage) if is_new else ():
                records.write(event.SerializeToString())
            event = self._event(wall_time=time.time(), step=step, summary={"value": values})
            records.write(event.SerializeToString())

    def _begin(self, stage: str) -> Iterator[Any]:
        """Yield what a file starts with: its version, and from which step on it alone counts."""
        now = time.time()
        yield self._event(wall_time=now, file_version="brain.Event:2")
        step = self._start_steps.get(stage, 0) + 1
        yield self._event(wall_time=now, step=step, session_log={"status": "START"})


def _numbers(line: Line) -> Iterator[tuple[str, float]]:
    """Yield tag and value; figures of a moving average carry its name."""
    average = line.get("average")
    for name, value in line.items():
        if isinstance(value, dict):
            for inner, number in _numbers(value):
                tag = f"{name}/{inner}"
                yield (f"{tag}/{average}" if average else tag), number
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield name, float(value)


def tensorboard_of(folder: str | Path) -> TensorBoard | None:
    """Return the TensorBoard reporter of ``folder``, None where it is not installed."""
    try:
        return TensorBoard(folder)
    except ModuleNotFoundError:
        return None


def tee(*reporters: Reporter) -> Reporter:
    """Return a reporter that hands each line to all ``reporters``."""

    def report(line: Line) -> None:
        for reporter in reporters:
            reporter(line)

    return report


def silent(line: Line) -> None:
    """Report nothing: for every rank but 0."""
