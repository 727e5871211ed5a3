from functools import partial

import numpy as np
import pytest
import torch

from ecgtwin.signals.leads import LEADS, independent_leads
from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.spec.pairs import PairSpec
from ecgtwin.spec.recipe import BaseExtractorRecipe, DenoiserRecipe, Recipe, VaeRecipe
from ecgtwin.spec.sampling import SamplingSpec
from ecgtwin.spec.training import TrainingSpec
from ecgtwin.training.engine import TorchEngine
from ecgtwin.training.metrics import TensorBoard, silent
from ecgtwin.training.objectives import DenoiserObjective, VaeObjective
from ecgtwin.training.panels import (
    NUM_PERSONS,
    Drawing,
    few_steps,
    generated,
    kept_panels,
    rebuilt,
)
from ecgtwin.training.rows import LatentRows, TrainingRows
from ecgtwin.training.stages import StageInputs, train_twin
from tests.tiny import TINY_CHAIN, tiny_twin
from tests.training.corpora import CODES, ecg_like

SPEC = TrainingSpec(num_steps=4, batch_size=4, warmup_steps=1, checkpoint_every=2, log_every=2)
RECIPE = Recipe(
    preset="tiny",
    vae=VaeRecipe(training=SPEC.model_copy(update={"panel_every": 3})),
    base_extractor=BaseExtractorRecipe(training=SPEC),
    denoiser=DenoiserRecipe(training=SPEC),
)


def rows_of(prefix, num_persons, *, seed=3):
    """Two recordings of each person; every third person has the same statement."""
    samples_mv = ecg_like(2 * num_persons, 1024, seed)
    conditions = [
        CardiacCondition(
            statements=(CODES[row // 2 % 3],), heart_rate_bpm=60 + row, age_years=50, sex="male"
        )
        for row in range(2 * num_persons)
    ]
    persons = [f"{prefix}{row // 2}" for row in range(2 * num_persons)]
    return TrainingRows(independent_leads(samples_mv), conditions, persons)


def weights_of(objective):
    return {name: tensor.clone() for name, tensor in objective.state_dict().items()}


def likenesses_of_the_denoiser(twin, rows):
    objective = DenoiserObjective(twin.denoiser, RECIPE.denoiser, process=twin.spec.process)
    made = generated(LatentRows.of(rows, twin), PairSpec(), twin, seed=5)(objective)
    return objective, made


@pytest.fixture(params=["flow", "chain"])
def twin(request):
    return tiny_twin(1) if request.param == "flow" else tiny_twin(1, TINY_CHAIN)


def test_a_generated_likeness_stands_beside_the_recording_whose_condition_it_has(twin):
    rows = rows_of("v", 9)
    objective, likenesses = likenesses_of_the_denoiser(twin, rows)
    made = likenesses.of(weights_of(objective))
    assert len(made) == NUM_PERSONS
    assert {one.condition.statements[0].code for one in made} == set(CODES)
    for one in made:
        row = rows.conditions.index(one.condition)
        assert one.real_mv.shape == one.made_mv.shape == (len(LEADS), 1024)
        assert np.array_equal(independent_leads(one.real_mv), rows.samples_BLT[row])
        assert not np.array_equal(one.real_mv, one.made_mv)


def test_panels_differ_by_the_weights_alone_and_draw_no_random_number(twin):
    objective, likenesses = likenesses_of_the_denoiser(twin, rows_of("v", 9))
    weights = weights_of(objective)
    state = torch.get_rng_state()
    first, again = likenesses.of(weights), likenesses.of(weights)
    moved = {
        name: tensor * 1.1 if tensor.is_floating_point() else tensor
        for name, tensor in weights.items()
    }
    other = likenesses.of(moved)
    assert torch.equal(torch.get_rng_state(), state)
    for one, two, three in zip(first, again, other, strict=True):
        assert np.array_equal(one.made_mv, two.made_mv)
        assert np.array_equal(one.real_mv, three.real_mv)
        assert not np.array_equal(one.made_mv, three.made_mv)


def test_a_rebuilt_recording_is_what_the_vae_makes_of_its_latent():
    twin, rows = tiny_twin(1), rows_of("v", 2)
    objective = VaeObjective(twin.vae, RECIPE.vae)
    made = rebuilt(rows, twin)(objective).of(weights_of(objective))
    assert [one.condition for one in made] == [rows.conditions[0], rows.conditions[2]]
    latents = twin.latents(np.stack([one.real_mv for one in made]))
    wanted = twin.samples_of(latents, leads="as_generated")
    np.testing.assert_allclose(np.stack([one.made_mv for one in made]), wanted, atol=1e-5)


def test_a_long_stochastic_sampler_becomes_a_short_deterministic_one():
    published = SamplingSpec(sampler="ddpm", num_steps=1000, clip_sample=True)
    assert few_steps(published) == SamplingSpec(sampler="ddim", num_steps=16, clip_sample=True)
    own = SamplingSpec(num_steps=10, guidance_scale=2.0)
    assert few_steps(own) == own


def trained(folder, **panels):
    twin = tiny_twin(0)
    inputs = StageInputs(
        recipe=RECIPE,
        twin=twin,
        train_rows=rows_of("t", 6),
        validation_rows=rows_of("v", 4, seed=4),
        make_engine=partial(TorchEngine, device=torch.device("cpu")),
        checkpoints=str(folder),
        report=silent,
        going_on=False,
        **panels,
    )
    train_twin(inputs)
    return weights_of(twin)


def test_panels_come_when_they_are_due_and_leave_the_weights_bit_for_bit(tmp_path):
    panels = []
    shown = trained(tmp_path / "shown", show_panel=panels.append)
    plain = trained(tmp_path / "plain")
    assert all(torch.equal(tensor, plain[name]) for name, tensor in shown.items())
    steps = [(panel.stage, panel.step) for panel in panels]
    assert steps == [("vae", 3), ("vae", 4), ("denoiser", 2), ("denoiser", 4)]
    assert {panel.weights for panel in panels} == {"ema_0.999"}
    assert {panel.way for panel in panels} == {"rebuilt", "generated"}


def test_a_panel_is_a_file_and_a_picture_for_tensorboard(tmp_path):
    panels = []
    trained(tmp_path, show_panel=panels.append)
    png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\2\0\0\0\3"
    board = TensorBoard(tmp_path / "board")
    show = kept_panels(tmp_path / "panels", lambda panel: Drawing(f"<{panel.step}>", png), board)
    show(panels[0])
    assert (tmp_path / "panels" / "vae-00000003.svg").read_text() == "<3>"
    assert len(list((tmp_path / "board" / "vae").iterdir())) == 1
