"""The contrast of a whole batch, in blocks and parts, against the one loss over an N x N matrix."""

import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from ecgtwin.training import contrastive
from ecgtwin.training.contrastive import contrast
from ecgtwin.training.engine import TorchEngine
from ecgtwin.training.steps import contrastive_step
from tests.training.toy import SPEC

CPU = torch.device("cpu")
MAX_SCALE = 50.0


def one_shot(first, second, person, log_scale, max_scale=MAX_SCALE):
    """The textbook loss, by autograd."""
    scale = log_scale.exp().clamp(max=max_scale)
    is_other = ~torch.eye(len(person), dtype=torch.bool)
    same = (person[:, None] == person[None]) & is_other
    logits = (scale * first @ second.T).masked_fill(same, float("-inf"))
    wanted = torch.arange(len(person))
    return (
        functional.cross_entropy(logits, wanted) + functional.cross_entropy(logits.T, wanted)
    ) / 2


def unit_rows(count, width, seed):
    generator = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(count, width, generator=generator), dim=1)


def contrast_of(first, second, person, log_scale, *, num_ranks=1, max_scale=MAX_SCALE):
    """Return the contrast of each of ``num_ranks`` ranks, which exchange what they have."""
    share = len(person) // num_ranks
    owns = [slice(rank * share, (rank + 1) * share) for rank in range(num_ranks)]
    whole = contrast(
        first, second, person, log_scale, max_scale=max_scale, own=slice(None), gather=lambda x: x
    )
    if num_ranks == 1:
        return [whole]

    found = []
    for own in owns:
        # what the other ranks would say, from a single rank's run
        lse = iter(lses(first, second, person, log_scale, max_scale))
        found.append(
            contrast(
                first,
                second,
                person,
                log_scale,
                max_scale=max_scale,
                own=own,
                gather=lambda rows, lse=lse: next(lse, rows),
            )
        )
    return found


def lses(first, second, person, log_scale, max_scale):
    kept = []
    contrast(
        first,
        second,
        person,
        log_scale,
        max_scale=max_scale,
        own=slice(None),
        gather=lambda rows: kept.append(rows) or rows,
    )
    return kept


@pytest.mark.parametrize("block", [7, 64, 1024])
@pytest.mark.parametrize("num_ranks", [1, 2, 3])
def test_loss_and_gradients_equal_the_one_shot_loss(block, num_ranks, monkeypatch):
    monkeypatch.setattr(contrastive, "BLOCK_ROWS", block)
    first, second = (unit_rows(48, 16, seed).double().requires_grad_() for seed in (0, 1))
    person = torch.arange(48) // 3
    log_scale = torch.tensor([math.log(14.0)], dtype=torch.float64, requires_grad=True)
    loss = one_shot(first, second, person, log_scale)
    loss.backward()
    ranks = contrast_of(
        first.detach(), second.detach(), person, log_scale.detach(), num_ranks=num_ranks
    )
    for found in ranks:
        torch.testing.assert_close(found.loss, loss.detach())
    firsts = torch.cat([found.first_gradient_QW for found in ranks])
    seconds = torch.cat([found.second_gradient_QW for found in ranks])
    torch.testing.assert_close(firsts, first.grad)
    torch.testing.assert_close(seconds, second.grad)
    scale_gradient = sum(found.log_scale_gradient for found in ranks)
    torch.testing.assert_close(scale_gradient, log_scale.grad)


def test_when_everybody_looks_alike_the_loss_is_the_log_of_who_counts():
    same = unit_rows(1, 8, 0).expand(8, 8)
    log_scale = torch.zeros(1)
    strangers = contrast_of(same, same, torch.arange(8), log_scale)[0]
    assert float(strangers.loss) == pytest.approx(math.log(8), abs=1e-6)
    assert float(strangers.recall_at_1) == 0  # a tie is a miss
    # two persons of four rows each: a row has itself and the four of the other
    persons = contrast_of(same, same, torch.arange(8) // 4, log_scale)[0]
    assert float(persons.loss) == pytest.approx(math.log(5), abs=1e-6)


def test_one_person_alone_costs_nothing_and_pulls_at_nothing():
    first, second = unit_rows(6, 8, 0), unit_rows(6, 8, 1)
    found = contrast_of(first, second, torch.zeros(6, dtype=torch.long), torch.ones(1))[0]
    assert float(found.loss) == pytest.approx(0, abs=1e-6)
    assert float(found.first_gradient_QW.abs().max()) < 1e-6


def test_the_temperature_is_clamped_and_then_has_no_gradient():
    first, second = unit_rows(8, 8, 0), unit_rows(8, 8, 1)
    hot = contrast_of(first, second, torch.arange(8), torch.full((1,), 20.0))[0]
    edge = contrast_of(first, second, torch.arange(8), torch.full((1,), math.log(MAX_SCALE)))[0]
    assert float(hot.scale) == MAX_SCALE
    torch.testing.assert_close(hot.loss, edge.loss)
    assert float(hot.log_scale_gradient) == 0


class Encoder(nn.Module):
    """Two members through one network with dropout, as an objective of pairs."""

    def __init__(self, dropout):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.body = nn.Sequential(
                nn.Linear(6, 32), nn.Tanh(), nn.Dropout(dropout), nn.Linear(32, 8)
            )
        self.log_scale = nn.Parameter(torch.full((1,), math.log(1 / 0.07)))

    def forward(self, batch):
        first, second = (
            functional.normalize(self.body(batch[name]), dim=-1) for name in ("one", "other")
        )
        return {"first_BW": first, "second_BW": second, "log_scale": self.log_scale * 1.0}


def pairs_of(total, part):
    generator = torch.Generator().manual_seed(11)
    person = torch.arange(total) // 2
    centre = torch.randn(total, 6, generator=generator)[person]
    one, other = (centre + torch.randn(total, 6, generator=generator) for _ in range(2))
    return {"one": one[part], "other": other[part], "person_B": person[part]}


def gradients(micro, *, total=1024, dropout=0.0):
    spec = SPEC.model_copy(update={"batch_size": total, "micro_batch_size": micro})
    engine = TorchEngine(Encoder(dropout), spec, device=CPU)
    outputs = contrastive_step(MAX_SCALE)(engine, lambda part: pairs_of(total, part), 0, 5)
    return outputs, {name: item.grad.clone() for name, item in engine.parameters.items()}


@pytest.mark.parametrize("micro", [1024, 256, 96])
def test_cached_gradients_of_1024_pairs_equal_the_one_shot_loss(micro):
    objective = Encoder(0.0)
    batch = pairs_of(1024, slice(None))
    made = objective(batch)
    loss = one_shot(made["first_BW"], made["second_BW"], batch["person_B"], made["log_scale"])
    loss.backward()
    outputs, found = gradients(micro)
    assert float(outputs["loss"]) == pytest.approx(loss.item(), rel=1e-6)
    for name, item in objective.named_parameters():
        error = (found[name] - item.grad).abs().max() / item.grad.abs().max()
        assert float(error) < 1e-5, name


def test_both_passes_draw_the_same_dropout():
    """With another draw in the second pass the gradient would be of another function."""
    _, found = gradients(256, dropout=0.5)
    objective = Encoder(0.5).train()
    parts = [slice(start, start + 256) for start in range(0, 1024, 256)]
    made = []
    for part in parts:
        torch.manual_seed(hash((0, 5, part.start)) % 2**63)
        made.append(objective(pairs_of(1024, part)))
    loss = one_shot(
        torch.cat([one["first_BW"] for one in made]),
        torch.cat([one["second_BW"] for one in made]),
        pairs_of(1024, slice(None))["person_B"],
        made[0]["log_scale"],
    )
    loss.backward()
    for name, item in objective.named_parameters():
        error = (found[name] - item.grad).abs().max() / item.grad.abs().max()
        assert float(error) < 1e-5, name


def test_the_generators_of_the_process_are_left_as_they_were():
    before = torch.get_rng_state()
    gradients(256, total=512, dropout=0.5)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_row_that_is_not_finite_makes_the_step_a_skipped_one():
    spec = SPEC.model_copy(update={"batch_size": 64, "micro_batch_size": 16})
    engine = TorchEngine(Encoder(0.0), spec, device=CPU)
    before = copy.deepcopy(engine.weights())

    def spoiled(part):
        batch = pairs_of(64, part)
        if part.start == 16:
            batch["one"][0] = float("nan")
        return batch

    outputs = contrastive_step(MAX_SCALE)(engine, spoiled, 0, 0)
    assert not math.isfinite(outputs["loss"])
    assert not engine.step()
    assert all(torch.equal(engine.weights()[name], before[name]) for name in before)


def test_no_tensor_grows_with_the_square_of_the_batch():
    rows = 4096
    first, second = unit_rows(rows, 16, 0), unit_rows(rows, 16, 1)
    largest = [0]

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            for item in result if isinstance(result, list | tuple) else [result]:
                if isinstance(item, torch.Tensor):
                    largest[0] = max(largest[0], item.numel())
            return result

    with Watch():
        contrast_of(first, second, torch.arange(rows), torch.ones(1))
    assert largest[0] <= contrastive.BLOCK_ROWS**2
