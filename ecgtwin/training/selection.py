"""Which weights a stage ends with: those that did best on persons that it does not train on."""

import math
from collections.abc import Callable
from pathlib import Path

from ecgtwin.training.engine import Engine
from ecgtwin.training.metrics import Reporter
from ecgtwin.training.state import Tensors, read_tensors, replace_tensors

BEST = "best.safetensors"
Judge = Callable[[Tensors], dict[str, float]]


class Selection:
    """Keeps the averaged weights with the lowest validation loss, over restarts too.

    All ranks call ``consider`` after each checkpoint; rank 0 judges, all keep the same weights.
    Without a ``judge`` (no validation rows) the last weights are kept.
    """

    def __init__(
        self, engine: Engine, folder: str | Path, *, judge: Judge | None, report: Reporter
    ) -> None:
        self.engine, self.judge, self.report = engine, judge, report
        self.path = Path(folder) / BEST
        self.step = 0
        self.validation: dict[str, float] = {}
        self._weights: Tensors | None = None

    def resume(self, step: int) -> None:
        """Go on from what an earlier process kept; ``step`` is where training goes on.

        The checkpoint of ``step`` is judged again: that process may have died before it was.
        """
        kept = read_tensors(self.path) if step else None
        if kept is not None:
            self._weights, notes = kept
            self.step = int(notes.pop("step"))
            self.validation = notes
        if self.step < step:
            self.consider(step)

    def consider(self, step: int) -> None:
        """Judge the averaged weights of now; keep them if none before were better."""
        weights = self.engine.ema_weights()
        found: dict[str, float] = {}
        if self.engine.rank == 0 and self.judge is not None:
            found = self.judge(weights)
            self.report({"step": step, "validation": found})
        is_better = self.judge is None or found.get("loss", math.inf) < self._best()
        (is_better,) = self.engine.any_rank([is_better and self.engine.rank == 0])
        if is_better or self._weights is None:
            self.step, self.validation, self._weights = step, found, weights
            if self.engine.rank == 0:
                replace_tensors(self.path, weights, {"step": step, **found})

    def _best(self) -> float:
        loss = self.validation.get("loss", math.inf)
        return math.inf if math.isnan(loss) else loss

    def weights(self) -> Tensors:
        """Return the kept weights; those of now where nothing was considered."""
        return self.engine.ema_weights() if self._weights is None else self._weights
