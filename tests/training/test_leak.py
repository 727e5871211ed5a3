"""What a linear map reads of a state off vectors: nothing, all, and in between; its gradient."""

import pytest
import torch
from torch.nn import functional

from ecgtwin.training.engine import TorchEngine
from ecgtwin.training.leak import explained_share, leak_and_gradient, state_features
from ecgtwin.training.steps import contrastive_step
from tests.training.objectives_at_hand import SPEC, prepared

CPU = torch.device("cpu")


def normal(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_vectors_that_know_nothing_explain_what_chance_does():
    share = explained_share(normal(4000, 16, seed=0), normal(4000, 5, seed=1))
    assert float(share) == pytest.approx(16 / 4000, abs=0.003)


def test_vectors_that_hold_the_state_explain_all_of_it_however_small_it_is_in_them():
    states = normal(4000, 3, seed=0)
    mixed = states @ normal(3, 3, seed=1)  # correlated, of unlike sizes
    vectors = torch.cat([normal(4000, 5, seed=2), mixed], dim=1)
    assert float(explained_share(vectors, states)) > 0.9
    half = torch.cat([vectors[:, :5], states[:, :1], normal(4000, 2, seed=3)], dim=1)
    assert float(explained_share(half, states)) == pytest.approx(1 / 3, abs=0.03)


def test_it_is_the_r2_of_a_ridge_probe_of_uncorrelated_states():
    states = normal(500, 2, seed=0)
    states = torch.linalg.qr(states - states.mean(dim=0))[0] * 500**0.5
    vectors = states @ normal(2, 4, seed=1) + 2 * normal(500, 4, seed=2)
    centred = vectors - vectors.mean(dim=0)
    solved = torch.linalg.lstsq(centred, states).solution
    r2 = 1 - (states - centred @ solved).square().sum() / states.square().sum()
    assert float(explained_share(vectors, states)) == pytest.approx(float(r2), abs=0.02)


def test_its_gradient_is_that_of_finite_differences():
    vectors, states = normal(40, 4, seed=0), normal(40, 3, seed=1)
    _, gradient = leak_and_gradient(vectors, states)
    step = torch.zeros_like(vectors)
    step[7, 2] = 1e-5
    ends = [explained_share(vectors + sign * step, states) for sign in (1, -1)]
    assert float(gradient[7, 2]) == pytest.approx(float(ends[0] - ends[1]) / 2e-5, rel=1e-5)


def test_states_that_do_not_vary_cannot_leak():
    share, gradient = leak_and_gradient(normal(20, 4, seed=0), torch.ones(20, 3))
    assert float(share) == 0
    assert not gradient.any()


def test_unknown_rates_and_padded_statements_do_not_count():
    batch = {
        "x_text_BKW": torch.ones(2, 3, 4),
        "x_token_is_real_BK": torch.tensor([[True, True, False], [False, False, False]]),
        "x_rate_B": torch.tensor([float("nan"), 80.0]),
    }
    expected = torch.tensor([[1, 1, 1, 1, 0, 0], [0, 0, 0, 0, 0.8, 1]])
    torch.testing.assert_close(state_features(batch, "x_"), expected)


@pytest.mark.parametrize("micro", [12, 3])
def test_a_step_with_a_leak_has_the_gradient_of_the_whole_loss(micro):
    spec = SPEC.model_copy(update={"micro_batch_size": micro})
    gradients = []
    for weight in (0.0, 2.0):
        objective, batches, _ = prepared("base_extractor", spec)
        engine = TorchEngine(objective, spec, device=CPU)
        step = contrastive_step(50.0, leak_weight=weight)
        outputs = step(engine, lambda part, batches=batches: batches(0, part), 0, 0)
        gradients.append({name: one.grad.clone() for name, one in engine.parameters.items()})
    objective, batches, _ = prepared("base_extractor", spec)
    objective.train()
    batch = batches(0, slice(0, 12))
    made = objective(batch)
    states = torch.cat([state_features(batch, member) for member in ("reference_", "target_")])
    leak = explained_share(torch.cat([made["first_BW"], made["second_BW"]]), states)
    (2.0 * leak).backward()
    assert float(outputs["leak"]) == pytest.approx(leak.item(), rel=1e-5)
    expected = {name: one.grad for name, one in objective.named_parameters()}
    expected["network.log_scale"] = torch.zeros(1)  # the leak does not know it
    largest = max(float(one.abs().max()) for one in gradients[1].values())
    for name, wanted in expected.items():
        change = gradients[1][name] - gradients[0][name]
        assert float((change - wanted).abs().max()) < 1e-5 * largest, name


def test_training_against_the_leak_takes_it_away():
    """Two directions of a state stand in what the layer sees."""
    generator = torch.Generator().manual_seed(0)
    person, state = (torch.randn(256, 6, generator=generator) for _ in range(2))
    seen = torch.cat([person, state[:, :2]], dim=1)
    layer = torch.nn.Linear(8, 8)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)

    def vectors():
        return functional.normalize(layer(seen), dim=1)

    before = explained_share(vectors(), state[:, :2]).item()
    for _ in range(150):
        optimizer.zero_grad()
        explained_share(vectors(), state[:, :2]).backward()
        optimizer.step()
    assert before > 0.5
    assert explained_share(vectors(), state[:, :2]).item() < 0.2 * before
