"""Progress bars for people, on stderr. Numerics never draw one: they report, this displays."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

from ecgtwin.spec.recipe import STAGES, Recipe

Advance = Callable[[int], None]
Show = Callable[[dict[str, object]], None]


@contextmanager
def bar(name: str, total: int, unit: str) -> Iterator[Advance]:
    """Show a bar while the block runs; call the yielded function with how many more are done.

    Nothing is drawn before the first call, so what goes wrong before the work stands alone.
    """
    with tqdm(
        total=total, desc=name, unit=unit, file=sys.stderr, mininterval=0.5, delay=1e-6
    ) as shown:

        def advance(count: int) -> None:
            shown.update(count)

        yield advance


@contextmanager
def training_display(recipe: Recipe, *, visible: bool) -> Iterator[Show]:
    """Show one bar per stage, fed by the training loop's log lines."""
    shown: dict[str, tqdm] = {}  # type: ignore[type-arg]

    def show(line: dict[str, object]) -> None:
        stage, step = str(line.get("stage")), line.get("step")
        if stage not in STAGES or not isinstance(step, int):
            return
        if stage not in shown:
            for before in shown.values():
                before.close()
            total = getattr(recipe, stage).training.num_steps
            shown[stage] = tqdm(
                total=total,
                desc=f"train {stage}",
                unit="step",
                file=sys.stderr,
                disable=not visible,
            )
        shown[stage].update(step - shown[stage].n)
        if isinstance(line.get("loss"), float):
            shown[stage].set_postfix(loss=f"{line['loss']:.4f}")

    try:
        yield show
    finally:
        for stage in shown.values():
            stage.close()
