"""A stage ends with the weights that did best on validation rows, not with the last ones."""

import pytest
import torch

from ecgtwin.training.engine import TorchEngine
from ecgtwin.training.selection import BEST, Selection
from ecgtwin.training.state import UNFINISHED, write_checkpoint
from tests.training.toy import SPEC, Toy


def toy_engine():
    return TorchEngine(Toy(), SPEC.model_copy(update={"ema_decay": 0.0}))


def judge_of(losses):
    waiting = list(losses)
    return lambda weights: {"loss": waiting.pop(0)}


def set_to(engine, value):
    with torch.no_grad():
        for parameter in engine.parameters.values():
            parameter.fill_(value)


def kept(selection):
    names = selection.engine.parameters
    return {float(selection.weights()[name].flatten()[0]) for name in names}


@pytest.mark.parametrize(
    ("losses", "best"), [([3.0, 1.0, 2.0], 2), ([1.0, 2.0, 3.0], 1), ([float("nan"), 5.0, 4.0], 3)]
)
def test_the_lowest_validation_loss_is_kept(tmp_path, losses, best):
    engine, lines = toy_engine(), []
    selection = Selection(engine, tmp_path, judge=judge_of(losses), report=lines.append)
    for step in (1, 2, 3):
        set_to(engine, step)
        selection.consider(step)
    assert selection.step == best
    assert kept(selection) == {best}
    assert selection.validation == {"loss": losses[best - 1]}
    assert [line["step"] for line in lines] == [1, 2, 3]


def test_a_restart_goes_on_with_what_was_kept(tmp_path):
    engine = toy_engine()
    set_to(engine, 1)
    first = Selection(engine, tmp_path, judge=judge_of([0.25]), report=print)
    first.consider(10)

    set_to(engine, 2)
    again = Selection(engine, tmp_path, judge=judge_of([0.5, 0.5]), report=print)
    again.resume(20)
    again.consider(30)
    assert (again.step, again.validation, kept(again)) == (10, {"loss": 0.25}, {1})


def test_weights_that_nobody_judged_before_the_process_died_are_judged_on_resume(tmp_path):
    engine = toy_engine()
    set_to(engine, 1)
    Selection(engine, tmp_path, judge=judge_of([0.5]), report=print).consider(10)

    set_to(engine, 2)  # the checkpoint of step 20 was written, and then the process died
    again = Selection(engine, tmp_path, judge=judge_of([0.25]), report=print)
    again.resume(20)
    assert (again.step, again.validation, kept(again)) == (20, {"loss": 0.25}, {2})


def test_without_validation_rows_a_resumed_run_keeps_the_newest_checkpoint(tmp_path):
    engine = toy_engine()
    set_to(engine, 1)
    Selection(engine, tmp_path, judge=None, report=print).consider(10)
    set_to(engine, 2)
    again = Selection(engine, tmp_path, judge=None, report=print)
    again.resume(20)
    assert (again.step, kept(again)) == (20, {2})


def test_a_process_killed_while_it_wrote_the_best_leaves_nothing_in_the_way(tmp_path):
    engine = toy_engine()
    Selection(engine, tmp_path, judge=None, report=print).consider(1)
    leftover = tmp_path / f"{UNFINISHED}{BEST}"
    leftover.write_bytes(b"half")
    write_checkpoint(tmp_path, engine.state(), step=2, facts={}, keep=1)
    assert not leftover.exists()
    assert (tmp_path / BEST).exists()


def test_a_new_run_does_not_take_over_an_old_best(tmp_path):
    engine = toy_engine()
    set_to(engine, 1)
    Selection(engine, tmp_path, judge=judge_of([0.1]), report=print).consider(10)
    set_to(engine, 2)
    fresh = Selection(engine, tmp_path, judge=judge_of([0.9]), report=print)
    fresh.resume(0)
    fresh.consider(5)
    assert kept(fresh) == {2}


def test_without_validation_rows_the_last_weights_are_kept(tmp_path):
    engine = toy_engine()
    selection = Selection(engine, tmp_path, judge=None, report=print)
    for step in (1, 2):
        set_to(engine, step)
        selection.consider(step)
    assert (selection.step, selection.validation, kept(selection)) == (2, {}, {2})
    assert (tmp_path / BEST).exists()
