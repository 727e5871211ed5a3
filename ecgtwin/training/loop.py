"""The loop: batch, gradients, step, report, checkpoint; the same for every objective.

All ranks run it and take each decision together: a stop or a skipped step happens on all or none.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ecgtwin.errors import CheckpointError, DamageError, StoreError, TrainingError
from ecgtwin.spec.training import TrainingSpec
from ecgtwin.training.data import Batches
from ecgtwin.training.engine import Engine
from ecgtwin.training.meter import Meter, RunFacts
from ecgtwin.training.metrics import Reporter, silent
from ecgtwin.training.sigterm import noted_sigterms
from ecgtwin.training.state import checkpoints, read_checkpoint, write_checkpoint
from ecgtwin.training.steps import GradientStep, mean_step

Stop = Literal["done", "deadline", "sigterm"]
Callback = Callable[[int], None]  # of the steps done


@dataclass(frozen=True, slots=True)
class TrainingSummary:
    """How a run ended. ``step`` counts the steps done since the very start."""

    step: int
    num_updates: int
    stopped: Stop
    seconds: float
    loss: float | None  # of the last log line
    checkpoint: str | None


def resume(
    engine: Engine, folder: str | Path, *, facts: RunFacts, report: Reporter = silent
) -> int:
    """Load the newest good checkpoint of ``folder``; return the step to start at, 0 without one.

    A damaged one is reported and passed over. Raise CheckpointError where it was made from another
    recipe or corpus, or where the ranks do not all find the same one.
    """
    step = 0
    for url in reversed(checkpoints(folder)):
        try:
            state, step, stored = read_checkpoint(url)
        except DamageError as error:
            report({"damaged_checkpoint": str(error)})
            continue
        check_provenance(url, stored, facts.provenance)
        break
    _check_same(engine, step, folder)
    if step:
        engine.load_state(state)
    return step


def check_provenance(url: str, stored: Mapping[str, object], wanted: Mapping[str, object]) -> None:
    """Raise CheckpointError where a checkpoint was made from another recipe or corpus."""
    for name, value in wanted.items():
        if stored.get(name) != value:
            raise CheckpointError(
                f"{url}: was made with {name} {stored.get(name)}, this run has {value}; "
                "choose another folder, or delete this one to start again"
            )


def _check_same(engine: Engine, step: int, folder: str | Path) -> None:
    mean = engine.mean({"step": float(step)})["step"]
    (differs,) = engine.any_rank([mean != step])
    if differs:
        raise CheckpointError(
            f"{folder}: rank {engine.rank} goes on at step {step}, another at another; training "
            "checkpoints must lie where all machines see them: a shared folder or s3://"
        )


def train(  # noqa: PLR0913  (each is a decision of the caller's)
    engine: Engine,
    batches: Batches,
    spec: TrainingSpec,
    *,
    folder: str | Path,
    report: Reporter,
    start_step: int = 0,
    deadline_s: float | None = None,
    gradient_step: GradientStep = mean_step,
    on_checkpoint: Callback | None = None,
    on_panel: Callback | None = None,
    facts: RunFacts = RunFacts(),  # noqa: B008  (frozen)
) -> TrainingSummary:
    """Train from ``start_step`` to ``spec.num_steps``, or until a deadline or SIGTERM.

    ``batches(step, part)`` are rows of a step's batch, a pure function of both.
    ``deadline_s`` counts seconds from this call; the learning rate follows ``num_steps`` all the
    same. ``report`` is called on rank 0 only, ``on_checkpoint`` on all ranks after each
    checkpoint, ``on_panel`` every ``spec.panel_every`` steps (with each checkpoint where that is
    None). Ends with a checkpoint. Raise TrainingError after ``spec.max_bad_steps`` in a row without
    a finite loss and gradient, which change nothing, and where a checkpoint cannot be written.
    """
    begun = time.monotonic()
    meter = Meter(engine, spec, facts, report)
    saver = _Saver(engine, spec, str(folder), facts, (on_checkpoint, on_panel))
    step, bad_steps = start_step, 0
    stopped: Stop = "done"
    with noted_sigterms() as sigterms:
        while step < spec.num_steps and stopped == "done":
            outputs = gradient_step(engine, meter.timed(batches, step), spec.seed, step)
            updated = engine.step()
            step += 1

            meter.count(step, outputs, updated=updated)
            bad_steps = 0 if updated else bad_steps + 1
            if bad_steps == spec.max_bad_steps:
                raise TrainingError(_divergence(step, bad_steps, saver.latest))
            is_late = deadline_s is not None and time.monotonic() - begun > deadline_s
            is_late, is_ended = engine.any_rank([is_late, bool(sigterms)])
            if is_late or is_ended:
                stopped = "sigterm" if is_ended else "deadline"
            elif step < spec.num_steps:
                saver.after(step)
        meter.finish(step)
        if step > start_step:
            saver.save(step)
    seconds = time.monotonic() - begun
    return TrainingSummary(
        step, engine.num_updates, stopped, seconds, meter.latest_loss, saver.latest
    )


class _Saver:
    """Writes checkpoints from rank 0 and calls back; all ranks take part."""

    def __init__(
        self,
        engine: Engine,
        spec: TrainingSpec,
        folder: str,
        facts: RunFacts,
        callbacks: tuple[Callback | None, Callback | None],
    ) -> None:
        self.engine, self.spec, self.folder, self.facts = engine, spec, folder, facts
        self.on_checkpoint, self.on_panel = callbacks
        self.latest: str | None = None

    def after(self, step: int) -> None:
        """Save if it is time to; draw a panel if it is time for one alone."""
        if step % self.spec.checkpoint_every == 0:
            self.save(step)
        elif self.on_panel and self.spec.panel_every and step % self.spec.panel_every == 0:
            self.on_panel(step)

    def save(self, step: int) -> None:
        state = self.engine.state()
        failure = ""
        if self.engine.rank == 0:
            record = {"seed": self.spec.seed, **self.facts.provenance}
            keep = self.spec.keep_checkpoints
            try:
                self.latest = write_checkpoint(
                    self.folder, state, step=step, facts=record, keep=keep
                )
            except StoreError as error:
                failure = str(error)
        # Nobody goes on before the checkpoint is there.
        if any(self.engine.any_rank([bool(failure)])):
            raise TrainingError(_unsaved(step, failure, self.folder, self.latest))
        if self.on_checkpoint is not None:
            self.on_checkpoint(step)
        every = self.spec.panel_every
        is_last = step == self.spec.num_steps
        if self.on_panel is not None and (every is None or step % every == 0 or is_last):
            self.on_panel(step)


def _divergence(step: int, num_bad: int, checkpoint: str | None) -> str:
    return (
        f"training diverged: no finite loss and gradient in {num_bad} steps up to step "
        f"{step}; lower learning_rate or look at the data ({_kept(checkpoint)})"
    )


def _unsaved(step: int, failure: str, folder: str, checkpoint: str | None) -> str:
    return (
        f"the checkpoint of step {step} could not be written to {folder} "
        f"({failure or 'rank 0 says why'}); {_kept(checkpoint)}: make room or mend the store, and "
        "run the same command again"
    )


def _kept(checkpoint: str | None) -> str:
    if checkpoint is None:
        return "this process has written no checkpoint before"
    return f"the newest checkpoint is {checkpoint}"
