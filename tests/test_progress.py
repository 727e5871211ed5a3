import re
import time

import pytest

from ecgtwin.progress import training_display
from ecgtwin.spec.recipe import load_recipe

START = {"stage": "vae", "step": 900, "num_steps": 1000}
STEP_S = 0.2


def shown_after(lines, capsys, *, visible=True):
    """Return what stands on the bar after ``lines``, a pause before each but the first."""
    with training_display(load_recipe("tiny"), visible=visible) as show:
        show(lines[0])
        for line in lines[1:]:
            time.sleep(STEP_S)
            show(line)
        return capsys.readouterr().err.split("\r")[-1]


def seconds_left(shown):
    minutes, seconds = re.search(r"<(\d+):(\d+)", shown).groups()
    return 60 * int(minutes) + int(seconds)


def test_a_resumed_stage_begins_at_its_step_and_expects_what_its_own_steps_take(capsys):
    """900 steps of an earlier process would promise the end within a second."""
    last = {"stage": "vae", "step": 902, "loss": 0.25, "samples_per_s": 128.0, "mfu": 0.314}
    shown = shown_after([START, {"stage": "vae", "step": 901, "loss": 0.5}, last], capsys)
    assert "902/1000" in shown
    assert shown.rstrip().endswith("loss 0.2500, 128 ECG/s, MFU 31.4%]")
    assert seconds_left(shown) == pytest.approx(98 * STEP_S, rel=0.5)


def test_the_time_of_a_judgement_counts(capsys):
    """A line without a further step comes a while after its step: of a checkpoint's validation."""
    lines = [START, *({"stage": "vae", "step": step} for step in (901, 901, 901, 902, 902, 902))]
    shown = shown_after([*lines, {"stage": "vae", "step": 903, "loss": 0.5}], capsys)
    assert seconds_left(shown) > 97 * 2 * STEP_S


def test_a_limit_in_minutes_is_said_and_lines_without_a_step_are_not_shown(capsys):
    lines = [{**START, "minutes": 12.0}, {"stage": "vae", "rows": 5}, {"damaged_checkpoint": "x"}]
    assert shown_after(lines, capsys).startswith("train vae, 12 min at most:  90%")


def test_other_ranks_show_nothing(capsys):
    assert shown_after([START, {**START, "step": 950}], capsys, visible=False) == ""
