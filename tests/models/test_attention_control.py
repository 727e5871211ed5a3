"""Edited rows look where their source looks; nothing else in the batch is touched."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from ecgtwin.models.attention_control import EditMaps, RecordMaps
from ecgtwin.models.build import build_denoiser
from ecgtwin.models.condition_tokens import ConditionBatch
from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.spec.edit import Add, EditSpec, Replace, Reweight, edited_condition
from ecgtwin.spec.presets import preset
from ecgtwin.twin.published_keys import DIT
from tests.models.published import filled_state

SINUS, LBBB, AFIB = "sinus rhythm", "left bundle branch block", "atrial fibrillation"
HEADS, FRAMES = 2, 5
RELATIVE = 1e-4


def source(*codes):
    return CardiacCondition(statements=codes, heart_rate_bpm=70)


def maps(is_real, seed=0):
    """Attention rows of a softmax over the real tokens of each row of the batch."""
    real = torch.tensor(is_real).bool()
    logits = torch.randn(len(is_real), HEADS, FRAMES, len(is_real[0]), generator=seeded(seed))
    return logits.masked_fill(~real[:, None, None], -torch.inf).softmax(dim=-1), real


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def control_of(conditions, *edits, num_tokens, renormalise=True):
    spec = EditSpec(edits=edits, renormalise=renormalise)
    edited = [edited_condition(condition, spec) for condition in conditions]
    cpu = torch.device("cpu")
    return EditMaps.of(edited, num_tokens=num_tokens, renormalise=renormalise, device=cpu)


def test_a_replaced_statement_gets_exactly_the_attention_of_the_one_before():
    given, real = maps([[True, True], [True, True]])
    control = control_of([source(SINUS, LBBB)], Replace(statement=SINUS, by=AFIB), num_tokens=2)
    out = control(0, given, real)
    torch.testing.assert_close(out[0], given[0], rtol=0, atol=0)
    torch.testing.assert_close(out[1], given[0])
    assert not torch.allclose(given[1], given[0])


def test_an_added_statement_brings_its_own_attention_and_rows_sum_to_one():
    given, real = maps([[True, True, False], [True, True, True]])
    add = Add(statement=AFIB, weight=3.0)
    out = control_of([source(SINUS, LBBB)], add, num_tokens=3)(0, given, real)
    expected = torch.cat([given[0][..., :2], 3 * given[1][..., 2:]], dim=-1)
    torch.testing.assert_close(out[1], expected / expected.sum(-1, keepdim=True))
    torch.testing.assert_close(out[1].sum(-1), torch.ones(HEADS, FRAMES))


def test_as_published_the_rows_of_an_addition_are_left_too_large():
    given, real = maps([[True, True, False], [True, True, True]])
    control = control_of(
        [source(SINUS, LBBB)], Add(statement=AFIB, weight=0.5), num_tokens=3, renormalise=False
    )
    out = control(0, given, real)
    torch.testing.assert_close(out[1].sum(-1), 1 + 0.5 * given[1][..., 2])
    torch.testing.assert_close(out[1][..., :2], given[0][..., :2])


def test_a_reweighted_statement_gains_at_the_cost_of_the_others():
    given, real = maps([[True, True], [True, True]])
    reweight = Reweight(statement=LBBB, weight=4.0)
    out = control_of([source(SINUS, LBBB)], reweight, num_tokens=2)(0, given, real)[1]
    torch.testing.assert_close(out[..., 1] / out[..., 0], 4 * given[0][..., 1] / given[0][..., 0])
    torch.testing.assert_close(out.sum(-1), torch.ones(HEADS, FRAMES))


def test_edits_combine():
    given, real = maps([[True, True, False], [True, True, True]])
    edits = (
        Add(statement="low qrs voltages", weight=2.0),
        Replace(statement=SINUS, by=AFIB),
        Reweight(statement=SINUS, weight=0.5),
    )
    out = control_of([source(SINUS, LBBB)], *edits, num_tokens=3)(0, given, real)[1]
    expected = torch.stack([0.5 * given[0][..., 0], given[0][..., 1], 2 * given[1][..., 2]], dim=-1)
    torch.testing.assert_close(out, expected / expected.sum(-1, keepdim=True))


@pytest.mark.parametrize("renormalise", [True, False])
def test_padding_stays_exactly_zero_and_rows_keep_their_own_edits(renormalise):
    """Two persons with reports of unlike length: the shorter one is padded."""
    given, real = maps([[1, 0, 0, 0], [1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]])
    conditions = [source(SINUS), source(SINUS, LBBB, "low qrs voltages")]
    control = control_of(conditions, Add(statement=AFIB), num_tokens=4, renormalise=renormalise)
    out = control(0, given, real)
    assert not out.masked_select(~real[:, None, None].expand_as(out)).any()
    torch.testing.assert_close(out[:2], given[:2], rtol=0, atol=0)
    scale = 1 + given[3][..., 3:] if renormalise else 1
    torch.testing.assert_close(out[3][..., :3], given[1][..., :3] / scale)


def test_recorded_maps_are_those_that_were_used_averaged_over_heads():
    recorder = RecordMaps(
        control_of([source(SINUS, LBBB)], Reweight(statement=SINUS, weight=0), num_tokens=2)
    )
    used = []
    for evaluation in range(3):
        for layer in range(2):
            given, real = maps([[True, True], [True, True]], seed=10 * evaluation + layer)
            used.append(recorder(layer, given, real).mean(dim=1))
    found = recorder.recorded(FRAMES)
    assert found.shape == (3, 2, 2, FRAMES, 2)
    torch.testing.assert_close(found.flatten(0, 1), torch.stack(used))
    assert not found[:, :, 1, :, 0].any()


def test_maps_of_coarser_layers_are_stretched_over_the_same_time():
    recorder = RecordMaps()
    fine, real = maps([[True, True]])
    recorder(0, torch.repeat_interleave(fine, 2, dim=2), real)
    recorder(1, fine, real)
    (layers,) = recorder.recorded(2 * FRAMES)
    torch.testing.assert_close(layers[0], layers[1])


@pytest.fixture(scope="module")
def file(real_data):
    with np.load(real_data / "parity" / "edit.npz") as stored:
        return {key: torch.from_numpy(np.atleast_1d(stored[key])) for key in stored}


@pytest.fixture(scope="module")
def network(real_data, file):
    network = build_denoiser(preset("paper"))
    state = filled_state("dit_ecgtwin", int(file["weight_seed"]), real_data / "parity")
    network.load_state_dict(DIT.filled(network.state_dict(), state))
    return network.eval().requires_grad_(False)


def stacked_predictions(network, file, edited_tokens, control):
    """Return the predictions of source and edited row, together in one batch."""
    num_tokens = edited_tokens.shape[1]
    tokens = torch.zeros(2, num_tokens, edited_tokens.shape[2])
    mask = torch.zeros(2, num_tokens)
    for row, own in enumerate((file["tokens_src"], edited_tokens)):
        tokens[row, : own.shape[1]] = own[0]
        mask[row, : own.shape[1]] = 1
    told = network.embed(
        file["base_vector"].repeat(2, 1),
        ConditionBatch.published(tokens, file["p"].repeat(2, 1), mask),
    )
    noisy = torch.cat([file["x_src"], file["x_edit"]])
    time_B = file["t"].float().repeat(2)
    return network(noisy, time_B, replace(told, control=control)).split(1)


def check(found, expected):
    assert float((found - expected).abs().max() / expected.abs().max()) <= RELATIVE


def test_one_step_of_the_published_swap(network, file):
    columns = torch.arange(3)[None]
    control = EditMaps(columns, torch.ones(1, 3), renormalise=False)
    source, edited = stacked_predictions(network, file, file["tokens_swap"], control)
    check(source, file["swap_eps_src"])
    check(source, file["plain_eps_src"])
    check(edited, file["swap_eps_edit"])


def test_one_step_of_the_published_addition(network, file):
    tokens = torch.cat([file["tokens_src"], file["tokens_add"]], dim=1)
    weights = torch.cat([torch.ones(3), file["weight"]])[None]
    columns = torch.tensor([[0, 1, 2, -1]])
    control = EditMaps(columns, weights, renormalise=False)
    source, edited = stacked_predictions(network, file, tokens, control)
    check(source, file["plain_eps_src"])
    check(edited, file["add_eps_edit"])
    mended = EditMaps(columns, weights, renormalise=True)
    _, other = stacked_predictions(network, file, tokens, mended)
    assert float((other - edited).abs().max()) > 0.01
