"""A stage ends with the weights that did best on validation rows, not with the last ones."""

import pytest
import torch

from ecgtwin.training.engine import TorchEngine
from ecgtwin.training.selection import BEST, Selection
from tests.training.toy import SPEC, Toy, run_steps


def toy_engine():
    return TorchEngine(Toy(), SPEC.model_copy(update={"ema_decays": ()}))


def judge_of(losses):
    waiting = list(losses)
    return lambda weights: {"criterion": waiting.pop(0)}


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
    selection = Selection(engine, str(tmp_path), judge=judge_of(losses), report=lines.append)
    for step in (1, 2, 3):
        set_to(engine, step)
        selection.consider(step)
    assert selection.step == best
    assert kept(selection) == {best}
    assert selection.validation == {"criterion": losses[best - 1]}
    assert [line["step"] for line in lines] == [1, 2, 3]


def test_a_restart_goes_on_with_what_was_kept(tmp_path):
    engine = toy_engine()
    set_to(engine, 1)
    first = Selection(engine, str(tmp_path), judge=judge_of([0.25]), report=print)
    first.consider(10)

    set_to(engine, 2)
    again = Selection(engine, str(tmp_path), judge=judge_of([0.5, 0.5]), report=print)
    again.resume(20)
    again.consider(30)
    assert (again.step, again.validation, kept(again)) == (10, {"criterion": 0.25}, {1})


def test_weights_that_nobody_judged_before_the_process_died_are_judged_on_resume(tmp_path):
    engine = toy_engine()
    set_to(engine, 1)
    Selection(engine, str(tmp_path), judge=judge_of([0.5]), report=print).consider(10)

    set_to(engine, 2)  # the checkpoint of step 20 was written, and then the process died
    again = Selection(engine, str(tmp_path), judge=judge_of([0.25]), report=print)
    again.resume(20)
    assert (again.step, again.validation, kept(again)) == (20, {"criterion": 0.25}, {2})


def test_without_validation_rows_a_resumed_run_keeps_the_newest_checkpoint(tmp_path):
    engine = toy_engine()
    set_to(engine, 1)
    Selection(engine, str(tmp_path), judge=None, report=print).consider(10)
    set_to(engine, 2)
    again = Selection(engine, str(tmp_path), judge=None, report=print)
    again.resume(20)
    assert (again.step, kept(again)) == (20, {2})


def test_each_average_is_a_candidate(tmp_path):
    engine = TorchEngine(Toy(), SPEC)
    run_steps(engine, 0, 3)
    lines = []
    judged = judge_of([0.5, 0.25, 0.75, 0.3])
    selection = Selection(engine, str(tmp_path), judge=judged, report=lines.append)
    selection.consider(3)
    wanted = engine.ema_weights()["ema_0.9"]
    selection.consider(6)
    assert (selection.step, selection.name) == (3, "ema_0.9")
    assert all(torch.equal(selection.weights()[name], wanted[name]) for name in wanted)
    again = Selection(engine, str(tmp_path), judge=judge_of([0.9] * 2), report=print)
    again.resume(6)
    assert (again.step, again.name) == (3, "ema_0.9")
    assert [line["average"] for line in lines] == ["ema_0.5", "ema_0.9"] * 2


def test_a_new_run_does_not_take_over_an_old_best(tmp_path):
    engine = toy_engine()
    set_to(engine, 1)
    Selection(engine, str(tmp_path), judge=judge_of([0.1]), report=print).consider(10)
    set_to(engine, 2)
    fresh = Selection(engine, str(tmp_path), judge=judge_of([0.9]), report=print)
    fresh.resume(0)
    fresh.consider(5)
    assert kept(fresh) == {2}


def test_without_validation_rows_the_last_weights_are_kept(tmp_path):
    engine = toy_engine()
    selection = Selection(engine, str(tmp_path), judge=None, report=print)
    for step in (1, 2):
        set_to(engine, step)
        selection.consider(step)
    assert (selection.step, selection.validation, kept(selection)) == (2, {}, {2})
    assert (tmp_path / BEST).exists()
