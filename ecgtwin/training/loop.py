"""The loop: batch, loss, backward, step, report, checkpoint; the same for every objective.

All ranks run it and take each decision together: a stop or a skipped step happens on all or none.
"""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Literal

from ecgtwin.errors import CheckpointError, TrainingError
from ecgtwin.spec.training import TrainingSpec
from ecgtwin.training.engine import Batch, Engine
from ecgtwin.training.meter import Meter, RunFacts
from ecgtwin.training.metrics import Reporter
from ecgtwin.training.state import latest_checkpoint, read_checkpoint, write_checkpoint

MAX_BAD_STEPS = 5  # in a row

Stop = Literal["done", "deadline", "sigterm"]


@dataclass(frozen=True, slots=True)
class TrainingSummary:
    """How a run ended. ``step`` counts the steps done since the very start."""

    step: int
    num_updates: int
    stopped: Stop
    seconds: float
    loss: float | None  # of the last log line
    checkpoint: Path | None


def resume(engine: Engine, folder: str | Path, *, facts: RunFacts) -> int:
    """Load the newest whole checkpoint of ``folder``; return the step to start at, 0 without one.

    Raise CheckpointError if it was made from another recipe or corpus.
    """
    path = latest_checkpoint(folder)
    if path is None:
        return 0
    state, step, stored = read_checkpoint(path)
    for name, wanted in facts.provenance.items():
        if stored.get(name) != wanted:
            raise CheckpointError(
                f"{path}: was made with {name} {stored.get(name)}, this run has {wanted}; "
                "choose another folder, or delete this one to start again"
            )
    engine.load_state(state)
    return step


def train(  # noqa: PLR0913  (each is a decision of the caller's)
    engine: Engine,
    batch_at: Callable[[int], Batch],
    spec: TrainingSpec,
    *,
    folder: str | Path,
    report: Reporter,
    start_step: int = 0,
    deadline_s: float | None = None,
    on_panel: Callable[[int], None] | None = None,
    facts: RunFacts = RunFacts(),  # noqa: B008  (frozen)
) -> TrainingSummary:
    """Train from ``start_step`` to ``spec.num_steps``, or until a deadline or SIGTERM.

    ``batch_at(step)`` is this rank's share of a step's batch, a pure function of the step.
    ``deadline_s`` counts seconds from this call; the learning rate follows ``num_steps`` all the
    same. ``report`` is called on rank 0 only, ``on_panel(steps done)`` on all ranks after each
    checkpoint. Ends with a checkpoint. Raise TrainingError after five steps in a row without a
    finite loss and gradient; those change nothing.
    """
    begun = time.monotonic()
    meter = Meter(engine, spec, facts, report)
    saver = _Saver(engine, spec, Path(folder), facts, on_panel)
    step, bad_steps = start_step, 0
    stopped: Stop = "done"
    with _sigterms() as sigterms:
        while step < spec.num_steps and stopped == "done":
            batch = meter.wait_for(lambda: batch_at(step))  # noqa: B023  (called at once)
            outputs = engine.loss(batch)
            is_bad = not math.isfinite(outputs["loss"].item())
            is_late = deadline_s is not None and time.monotonic() - begun > deadline_s
            is_bad, is_late, is_ended = engine.any_rank([is_bad, is_late, bool(sigterms)])
            if not is_bad:
                engine.backward(outputs["loss"])
            updated = not is_bad and engine.step()
            step += 1

            meter.count(step, outputs, updated=updated)
            bad_steps = 0 if updated else bad_steps + 1
            if bad_steps == MAX_BAD_STEPS:
                raise TrainingError(_divergence(step, saver.latest))
            if is_late or is_ended:
                stopped = "sigterm" if is_ended else "deadline"
            elif step % spec.checkpoint_every == 0 and step < spec.num_steps:
                saver.save(step)
        meter.finish(step)
        if step > start_step:
            saver.save(step)
    seconds = time.monotonic() - begun
    return TrainingSummary(
        step, engine.num_updates, stopped, seconds, meter.latest_loss, saver.latest
    )


class _Saver:
    """Writes checkpoints from rank 0 and shows panels; all ranks take part."""

    def __init__(
        self,
        engine: Engine,
        spec: TrainingSpec,
        folder: Path,
        facts: RunFacts,
        on_panel: Callable[[int], None] | None,
    ) -> None:
        self.engine, self.spec, self.folder = engine, spec, folder
        self.facts, self.on_panel = facts, on_panel
        self.latest: Path | None = None

    def save(self, step: int) -> None:
        state = self.engine.state()
        if self.engine.rank == 0:
            record = {"seed": self.spec.seed, **self.facts.provenance}
            keep = self.spec.keep_checkpoints
            self.latest = write_checkpoint(self.folder, state, step=step, facts=record, keep=keep)
        self.engine.any_rank([False])  # nobody goes on before the checkpoint is there
        if self.on_panel is not None:
            self.on_panel(step)


@contextmanager
def _sigterms() -> Iterator[list[int]]:
    """Collect SIGTERMs instead of dying of them; signals can be caught in the main thread only."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
        return

    def catch(number: int, frame: FrameType | None) -> None:
        caught.append(number)

    before = signal.signal(signal.SIGTERM, catch)
    try:
        yield caught
    finally:
        signal.signal(signal.SIGTERM, before)


def _divergence(step: int, checkpoint: Path | None) -> str:
    kept = f"the newest checkpoint is {checkpoint}" if checkpoint else "there is no checkpoint yet"
    return (
        f"training diverged: no finite loss and gradient in {MAX_BAD_STEPS} steps up to step "
        f"{step}; lower learning_rate or look at the data ({kept})"
    )
