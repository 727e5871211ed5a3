"""Closed forms: a linear layer costs 2 x in x out a row forward, and twice that backward."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from ecgtwin.training.cost import cost_of, kept_bytes_of
from tests.training.objectives_at_hand import prepared
from tests.training.toy import Toy, batch_at

ROWS, WIDE, NARROW, LONG, KERNEL = 3, 8, 6, 16, 3


class Lone(nn.Module):
    """One layer, whose input needs no gradient: its backward pass is that of the weight alone."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, batch):
        output = self.layer(batch["x"])
        return {"loss": output.square().mean(), "size": output.detach().abs().mean()}


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(WIDE, NARROW), nn.Linear(NARROW, WIDE)

    def forward(self, batch):
        hidden = self.first(batch["x"])
        return {"one": functional.normalize(self.second(hidden), dim=-1), "two": hidden.sum()}


class Attention(nn.Module):
    """Queries, keys and values are the same rows (B, 1, LONG, WIDE) times a learnt number."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, batch):
        rows = batch["x"] * self.scale
        return {"loss": functional.scaled_dot_product_attention(rows, rows, rows).mean()}


def test_a_linear_layer_costs_its_closed_form():
    cost = cost_of(Lone(nn.Linear(WIDE, NARROW)), {"x": torch.ones(ROWS, WIDE)})
    one = 2 * WIDE * NARROW
    assert (cost.forward_flops, cost.backward_flops) == (one, one)
    assert cost.convolution_share == 0
    assert cost.flops(forwards=1) == 2 * one
    assert cost.flops(forwards=2) == 3 * one


def test_a_convolution_costs_its_closed_form():
    layer = nn.Conv1d(WIDE, NARROW, KERNEL, padding=1)
    cost = cost_of(Lone(layer), {"x": torch.ones(ROWS, WIDE, LONG)})
    one = 2 * WIDE * NARROW * KERNEL * LONG
    assert (cost.forward_flops, cost.backward_flops) == (one, one)
    assert cost.convolution_share == 1


def test_layers_in_a_row_and_outputs_without_a_loss():
    """The second layer passes a gradient on: two products more than it computes forward."""
    cost = cost_of(Two(), {"x": torch.ones(ROWS, WIDE)})
    one = 2 * WIDE * NARROW
    assert (cost.forward_flops, cost.backward_flops) == (2 * one, 3 * one)


def test_attention_is_counted_as_plain_products():
    cost = cost_of(Attention(), {"x": torch.ones(ROWS, 1, LONG, WIDE)})
    one = 2 * LONG * LONG * WIDE
    assert (cost.forward_flops, cost.backward_flops) == (2 * one, 4 * one)


def test_a_frozen_layer_has_no_gradient_of_its_weights():
    model = Two()
    model.first.requires_grad_(False)
    one = 2 * WIDE * NARROW
    cost = cost_of(model, {"x": torch.ones(ROWS, WIDE)})
    assert (cost.forward_flops, cost.backward_flops) == (2 * one, one)


def test_what_is_computed_again_to_save_memory_does_not_count():
    objective, batches, _ = prepared("denoiser")
    batch = batches(0, slice(0, 2))
    plain = cost_of(objective, batch)
    objective.network.activation_checkpointing = True
    assert cost_of(objective, batch) == plain
    assert objective.network.activation_checkpointing


def test_counting_leaves_the_objective_and_the_generators_alone():
    toy = Toy()
    before = {name: tensor.clone() for name, tensor in toy.state_dict().items()}
    random = torch.get_rng_state()
    cost_of(toy, batch_at(0))
    kept_bytes_of(toy, batch_at(0), in_bf16=True)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, before[name]) for name, tensor in toy.state_dict().items())
    assert all(parameter.grad is None for parameter in toy.parameters())
    assert [item.requires_grad for item in toy.frozen.parameters()] == [False, False]


WIDE_ROWS = {"x": torch.ones(ROWS, WIDE)}


@pytest.mark.parametrize(("in_bf16", "num_bytes"), [(False, 4), (True, 2)])
def test_a_layer_keeps_its_input_and_the_square_its_own(in_bf16, num_bytes):
    layer = Lone(nn.Linear(WIDE, NARROW, bias=False))
    kept = kept_bytes_of(layer, WIDE_ROWS, in_bf16=in_bf16)
    assert (kept.per_pass, kept.per_sample) == (0, num_bytes * (WIDE + NARROW))


def test_weights_count_only_where_a_pass_keeps_a_copy_of_them():
    """In bf16 the second layer's is needed for the gradient of its input."""
    full, cast = (kept_bytes_of(Two(), WIDE_ROWS, in_bf16=flag).per_pass for flag in (False, True))
    assert full == 0
    assert cast >= 2 * WIDE * NARROW
