"""Which weights a stage ends with: those that did best on persons that it does not train on."""

import math
from collections.abc import Callable

from ecgtwin.store.objects import join
from ecgtwin.training.engine import Engine
from ecgtwin.training.metrics import Reporter
from ecgtwin.training.state import Tensors, read_tensors, replace_tensors

BEST = "best.safetensors"
RAW = "weights"
Judge = Callable[[Tensors], dict[str, float]]  # ``criterion`` among its values: lower is better


class Selection:
    """Keeps the averaged weights with the lowest criterion, over restarts too.

    Each moving average is a candidate, or the weights themselves where there is none. All ranks
    call ``consider`` after each checkpoint; rank 0 judges, all keep the same weights. Without a
    ``judge`` (no validation rows) the last weights are kept, of the longest average.
    """

    def __init__(
        self, engine: Engine, folder: str, *, judge: Judge | None, report: Reporter
    ) -> None:
        self.engine, self.judge, self.report = engine, judge, report
        self.url = join(folder, BEST)
        self.step = 0
        self.name = RAW
        self.validation: dict[str, float] = {}
        self._weights: Tensors | None = None

    def resume(self, step: int) -> None:
        """Go on from what an earlier process kept; ``step`` is where training goes on.

        The checkpoint of ``step`` is judged again: that process may have died before it was.
        """
        kept = read_tensors(self.url) if step else None
        if kept is not None:
            self._weights, notes = kept
            self.step, self.name = int(str(notes["step"])), str(notes["name"])
            found = notes["validation"]
            self.validation = dict(found) if isinstance(found, dict) else {}
        if self.step < step:
            self.consider(step)

    def consider(self, step: int) -> None:
        """Judge the averages of now; keep the best if none before was better."""
        candidates = self.engine.ema_weights() or {RAW: self.engine.weights()}
        for name, weights in sorted(candidates.items()):
            found: dict[str, float] = {}
            if self.engine.rank == 0 and self.judge is not None:
                found = self.judge(weights)
                self.report({"step": step, "average": name, "validation": found})
            is_better = self.judge is None or found.get("criterion", math.inf) < self._best()
            (is_better,) = self.engine.any_rank([is_better and self.engine.rank == 0])
            if is_better or self._weights is None:
                self.step, self.name, self.validation = step, name, found
                self._weights = weights
                if self.engine.rank == 0:
                    notes = {"step": step, "name": name, "validation": found}
                    replace_tensors(self.url, weights, notes)

    def _best(self) -> float:
        criterion = self.validation.get("criterion", math.inf)
        return math.inf if math.isnan(criterion) else criterion

    def weights(self) -> Tensors:
        """Return the kept weights; those of now where nothing was considered."""
        return self.engine.weights() if self._weights is None else self._weights
