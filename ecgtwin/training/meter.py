"""What a training run reports: losses since the last line, and how fast it goes."""

import math
import resource
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ecgtwin.spec.training import TrainingSpec
from ecgtwin.training.bands import with_bands
from ecgtwin.training.data import Batches
from ecgtwin.training.engine import Batch, Engine
from ecgtwin.training.metrics import Line, Reporter


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a run is made from, and what a sample costs.

    ``provenance`` (JSON values: recipe and corpus digests) is kept in each checkpoint and compared
    on resume. ``flops_per_sample`` counts forward and backward; ``peak_flops`` is that of all
    ranks together.
    """

    provenance: Mapping[str, object] = field(default_factory=dict)
    flops_per_sample: float | None = None
    peak_flops: float | None = None


class Meter:
    """Averages over the steps since the last line, then over ranks; reports on rank 0.

    A line's speed is that of all the time since the line before, checkpoints and panels too.
    """

    def __init__(
        self, engine: Engine, spec: TrainingSpec, facts: RunFacts, report: Reporter
    ) -> None:
        self.engine, self.spec, self.facts, self.report = engine, spec, facts, report
        self.latest_loss: float | None = None
        self._begun = time.monotonic()
        self._start_interval()

    def timed(self, batches: Batches, step: int) -> Callable[[slice], Batch]:
        """Return what makes rows of ``step``, and counts that as waiting for data."""

        def batch_of(part: slice) -> Batch:
            begun = time.monotonic()
            batch = batches(step, part)
            self._waited_s += time.monotonic() - begun
            return batch

        return batch_of

    def count(self, step: int, outputs: dict[str, Tensor], *, updated: bool) -> None:
        """Take in one step; report every ``log_every`` steps, and each skipped one at once."""
        self._num_steps += 1
        if updated:
            self._outputs.append({name: value.detach() for name, value in outputs.items()})
        elif self.engine.rank == 0:
            self.report({"step": step, "skipped": "the loss or a gradient is not finite"})
        if step % self.spec.log_every == 0:
            self._write(step)

    def finish(self, step: int) -> None:
        """Report what is left since the last line."""
        if self._num_steps:
            self._write(step)

    def _start_interval(self) -> None:
        self._interval_begun = time.monotonic()
        self._waited_s = 0.0
        self._num_steps = 0
        self._outputs: list[dict[str, Tensor]] = []

    def _write(self, step: int) -> None:
        means: dict[str, float] = {}
        if self._outputs:
            names = self._outputs[0]
            held = {
                name: torch.stack([outputs[name].float() for outputs in self._outputs]).mean()
                for name in names
            }
            means = with_bands(
                self.engine.mean({name: value.item() for name, value in held.items()})
            )
            self.latest_loss = means["loss"]
        now = time.monotonic()
        seconds = now - self._interval_begun
        line: Line = {"step": step, **means}
        line["learning_rate"] = self.engine.latest_learning_rate()
        norm = self.engine.gradient_norm()
        line["gradient_norm"] = norm if norm is not None and math.isfinite(norm) else None
        line |= self._speed(seconds)
        line["data_wait_share"] = round(self._waited_s / max(seconds, 1e-9), 4)
        line["peak_memory_mib"] = round(self._peak_memory_mib(), 1)
        line["seconds"] = round(now - self._begun, 3)
        if self.engine.rank == 0:
            self.report(line)
        self._start_interval()

    def _speed(self, seconds: float) -> Line:
        samples_per_s = self._num_steps * self.spec.batch_size / max(seconds, 1e-9)
        line: Line = {"samples_per_s": _short(samples_per_s)}
        if self.facts.flops_per_sample is not None:
            flops = samples_per_s * self.facts.flops_per_sample
            line["tflop_per_s"] = _short(flops / 1e12)
            if self.facts.peak_flops is not None:
                line["mfu"] = _short(flops / self.facts.peak_flops)
        return line

    def _peak_memory_mib(self) -> float:
        """Return that of the rank with the highest."""
        own = torch.tensor([peak_memory_mib(self.engine.device)], device=self.engine.device)
        return float(self.engine.gather(own).max())


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def peak_memory_mib(device: torch.device) -> float:
    """Return the most that tensors took on a GPU since the last call.

    On a CPU: the most that the process ever had in memory, its libraries and its corpus included.
    """
    if device.type == "cuda":
        highest = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return highest / 2**20
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
