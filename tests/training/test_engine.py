import pytest
import torch

from ecgtwin.errors import CheckpointError, SpecificationError
from ecgtwin.training.engine import TorchEngine, parts_of, rank_slice
from ecgtwin.training.optimizer_state import ema_name, follow, start_states
from ecgtwin.training.schedule import ema_decay_at, learning_rate_at
from ecgtwin.training.state import latest_checkpoint, read_checkpoint, write_checkpoint
from tests.training.toy import SPEC, Toy, batch_at, largest_difference, run_steps

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def engine_for(spec=SPEC, seed=0):
    return TorchEngine(Toy(seed), spec, device=CPU)


def test_training_lowers_the_loss():
    engine = engine_for(SPEC.model_copy(update={"clip_norm": 1.0, "num_steps": 200}))
    losses = run_steps(engine, 0, 200)
    assert sum(losses[-10:]) < 0.5 * sum(losses[:10])


def test_resumed_equals_uninterrupted_bit_for_bit(tmp_path):
    straight = engine_for()
    run_steps(straight, 0, 10)

    first = engine_for()
    run_steps(first, 0, 4)
    write_checkpoint(tmp_path, first.state(), step=4, facts={}, keep=1)
    second = engine_for(seed=1)
    second.objective.frozen.load_state_dict(first.objective.frozen.state_dict())
    state, step, _ = read_checkpoint(latest_checkpoint(tmp_path))
    second.load_state(state)
    run_steps(second, step, 10)

    assert step == 4
    assert second.num_updates == 10
    assert largest_difference(second.state(), straight.state()) == 0


def test_state_names_what_is_trained_and_buffers_and_not_what_is_frozen():
    engine = engine_for()
    assert "scale" in engine.weights()
    assert not any(name.startswith("frozen") for name in engine.weights())
    assert "scale" not in engine.state().adam_first
    averages = engine.ema_weights()
    assert sorted(averages) == ["ema_0.5", "ema_0.9"]
    assert all(average.keys() == engine.weights().keys() for average in averages.values())


def test_returned_weights_do_not_change_with_training():
    engine = engine_for()
    before = engine.weights()
    kept = {name: tensor.clone() for name, tensor in before.items()}
    run_steps(engine, 0, 1)
    assert all(torch.equal(before[name], kept[name]) for name in kept)
    assert not torch.equal(engine.weights()["conv.weight"], kept["conv.weight"])


def test_gradients_are_clipped_to_the_norm_that_is_reported():
    engine = engine_for()
    engine.backward(engine.loss(batch_at(0))["loss"])
    gradients = [item.grad.clone() for item in engine.parameters.values()]
    norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
    engine.step()
    assert norm > SPEC.clip_norm
    assert engine.gradient_norm() == pytest.approx(norm.item(), rel=1e-6)
    expected = 0.1 * gradients[0] * SPEC.clip_norm / norm
    beta = SPEC.betas[0]
    torch.testing.assert_close(
        engine.state().adam_first["conv.weight"], (1 - beta) / 0.1 * expected, rtol=1e-4, atol=0
    )


def test_a_gradient_that_is_not_finite_changes_nothing():
    engine = engine_for()
    run_steps(engine, 0, 2)
    before = engine.state()
    batch = batch_at(2)
    batch["signal"][0, 0, 0] = float("nan")
    engine.backward(engine.loss(batch)["loss"])
    assert not engine.step()
    assert engine.num_updates == 2
    assert largest_difference(engine.state(), before) == 0


def test_vectors_do_not_decay():
    spec = SPEC.model_copy(update={"weight_decay": 0.5})
    decays = [group["weight_decay"] for group in engine_for(spec).optimizer.param_groups]
    assert sorted(decays) == [0.0, 0.5]
    shapes = {
        group["weight_decay"]: {item.ndim > 1 for item in group["params"]}
        for group in engine_for(spec).optimizer.param_groups
    }
    assert shapes == {0.5: {True}, 0.0: {False}}


@pytest.mark.parametrize("decay", [0.9, 0.99])
def test_moving_average_of_a_ramp_has_its_closed_form(decay):
    master, states = torch.zeros(3), {}
    spec = SPEC.model_copy(update={"ema_decays": (0.5, decay)})
    start_states(states, [master], spec)
    num = 4000
    for update in range(num):
        master.fill_(update + 1.0)
        follow(states, [master], spec, update=update)
    # far from the start the average of a ramp lags by decay / (1 - decay)
    expected = torch.full((3,), num - decay / (1 - decay))
    torch.testing.assert_close(states[master][ema_name(decay)], expected, rtol=1e-5, atol=0)
    torch.testing.assert_close(states[master][ema_name(0.5)], torch.full((3,), num - 1.0))


def test_young_average_forgets_faster():
    assert ema_decay_at(0, decay=0.999) == 0.1
    assert ema_decay_at(10**9, decay=0.999) == 0.999


def test_without_decays_there_is_no_average():
    engine = engine_for(SPEC.model_copy(update={"ema_decays": ()}))
    run_steps(engine, 0, 3)
    assert engine.state().averages == {}
    assert engine.ema_weights() == {}


@pytest.mark.parametrize("micro", [1, 2, 3, 8])
def test_micro_batches_add_up_to_the_batch(micro):
    whole, parted = engine_for(), engine_for(SPEC.model_copy(update={"micro_batch_size": micro}))
    losses = run_steps(whole, 0, 6), run_steps(parted, 0, 6)
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert largest_difference(whole.state(), parted.state()) < 1e-4


def test_parts_are_equal_no_larger_than_asked_and_cover_the_share():
    spec = SPEC.model_copy(update={"batch_size": 24, "micro_batch_size": 5})
    for world_size in (1, 2, 3, 4):
        parts = [
            part
            for rank in range(world_size)
            for part in parts_of(spec, rank=rank, world_size=world_size)
        ]
        assert [row for part in parts for row in range(part.start, part.stop)] == list(range(24))
        sizes = {part.stop - part.start for part in parts}
        assert len(sizes) == 1
        assert max(sizes) <= 5


def test_learning_rate_warms_up_then_follows_half_a_cosine():
    def rate(update):
        return learning_rate_at(update, peak=2.0, warmup_steps=4, num_steps=105, final_ratio=0.1)

    assert [rate(update) for update in range(5)] == [0.5, 1.0, 1.5, 2.0, 2.0]
    assert rate(54) == pytest.approx((2.0 + 0.2) / 2)
    assert rate(104) == pytest.approx(0.2)
    assert rate(10_000) == pytest.approx(0.2)


def test_the_reported_rate_is_that_of_the_last_update():
    engine = engine_for()
    assert engine.latest_learning_rate() is None
    run_steps(engine, 0, 1)
    assert engine.latest_learning_rate() == pytest.approx(SPEC.learning_rate / 3)


def test_bf16_trains_with_fp32_weights_and_moments():
    engine = engine_for(SPEC.model_copy(update={"precision": "bf16"}))
    run_steps(engine, 0, 2)
    assert {item.dtype for item in engine.parameters.values()} == {torch.float32}
    assert all(
        item.dtype == torch.float32
        for item in engine.optimizer.state[engine.parameters["conv.weight"]].values()
    )


def test_ranks_share_a_batch_or_say_why_not():
    parts = [rank_slice(12, rank=rank, world_size=3) for rank in range(3)]
    assert [row for part in parts for row in range(12)[part]] == list(range(12))
    with pytest.raises(SpecificationError, match="batch_size 8 does not divide among 3"):
        rank_slice(8, rank=0, world_size=3)


def test_a_checkpoint_of_another_network_is_refused():
    engine, other = engine_for(), engine_for()
    other.objective.head = torch.nn.Linear(5, 3)
    with pytest.raises(CheckpointError, match=r"head\.bias"):
        engine.load_state(TorchEngine(other.objective, SPEC, device=CPU).state())
