"""Progress bars for people, on stderr. Numerics never draw one: they report, this displays."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from ecgtwin.spec.recipe import STAGES, Recipe

Advance = Callable[[int], None]
Tell = Callable[[int, str], None]

_GENERATION = "{desc}: {percentage:.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}] {postfix}"
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
def generation_display(num_ecgs: int) -> Iterator[Tell]:
    """Show a bar of ECGs while the block runs, with the time left.

    Call the yielded function with how many more are done, and with what to say beside the bar.
    """
    with tqdm(
        total=num_ecgs,
        desc="generate",
        unit="ECG",
        file=sys.stderr,
        mininterval=0.5,
        delay=1e-6,
        bar_format=_GENERATION,
    ) as shown:

        def tell(count: int, beside: str) -> None:
            shown.set_postfix_str(beside, refresh=False)
            shown.update(count)

        yield tell


@contextmanager
def training_display(recipe: Recipe, *, visible: bool) -> Iterator[Show]:
    """Show one bar per stage, fed by the training loop's log lines.

    A bar begins at the step where its stage begins or goes on, and expects what is left to take as
    long a step as the steps of this run, checkpoints and panels included.
    """
    shown: dict[str, tqdm] = {}  # type: ignore[type-arg]

    def show(line: dict[str, object]) -> None:
        stage, step = str(line.get("stage")), line.get("step")
        if stage not in STAGES or not isinstance(step, int):
            return
        if stage not in shown:
            for before in shown.values():
                before.close()
            asked = getattr(recipe, stage).training.num_steps
            shown[stage] = _stage_bar({"num_steps": asked, **line}, visible=visible)
        # An update by 0 would forget the time since the last one.
        if step > shown[stage].n:
            shown[stage].update(step - shown[stage].n)
        figures = _figures(line)
        if figures:
            shown[stage].set_postfix_str(figures)

    try:
        yield show
    finally:
        for stage in shown.values():
            stage.close()


def _stage_bar(line: dict[str, Any], *, visible: bool) -> tqdm:  # type: ignore[type-arg]
    limit = f", {line['minutes']:.3g} min at most" if line.get("minutes") else ""
    return tqdm(
        initial=line["step"],
        total=line["num_steps"],
        desc=f"train {line['stage']}{limit}",
        unit="step",
        file=sys.stderr,
        disable=not visible,
        smoothing=0.1,
    )


def _figures(line: dict[str, object]) -> str:
    """Return loss, speed and utilisation, those that the line has."""
    written = {"loss": "loss {:.4f}", "samples_per_s": "{:.4g} ECG/s", "mfu": "MFU {:.1%}"}
    found = ((form, line.get(name)) for name, form in written.items())
    return ", ".join(form.format(value) for form, value in found if isinstance(value, float))
