"""Persons seen as other persons: both recordings of a pair alike, and nothing else is changed."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from ecgtwin.errors import SpecificationError
from ecgtwin.signals.vectorcardiogram import DOWER, turned_leads
from ecgtwin.spec.model import PublishedVaeSpec
from ecgtwin.spec.recipe import BaseExtractorRecipe, VirtualPersonsSpec
from ecgtwin.spec.training import TrainingSpec
from ecgtwin.training.data import PairBatches
from ecgtwin.training.rows import LatentRows
from ecgtwin.training.virtual_persons import mixing_matrices, virtual_latents
from ecgtwin.twin.encoding import latents_of
from tests.tiny import TINY, tiny_twin
from tests.training.objectives_at_hand import rows_at_hand

STILL = VirtualPersonsSpec(copies=1, angle_deg=0, gain_sd=0)
RECIPE = BaseExtractorRecipe(training=TrainingSpec(), crop_frames=24)


@pytest.fixture(scope="module")
def rows():
    return rows_at_hand()


def test_leads_turn_with_the_dipole_and_keep_what_no_dipole_explains():
    vector = np.array([0.3, -0.2, 0.5])
    turn = Rotation.from_rotvec(vector).as_matrix()
    there, back, still = turned_leads(np.stack([vector, -vector, 0 * vector]))
    dipole = np.random.default_rng(0).normal(size=(3, 50))
    np.testing.assert_allclose(there @ (DOWER @ dipole), DOWER @ turn @ dipole)
    rest = np.linalg.svd(DOWER.T)[2][3:].T  # no lead field reaches there
    np.testing.assert_allclose(there @ rest, rest, atol=1e-12)
    np.testing.assert_allclose(back @ there, np.eye(8), atol=1e-12)
    np.testing.assert_allclose(still, np.eye(8), atol=1e-12)


def test_turns_and_gains_are_as_large_as_is_asked():
    spec = VirtualPersonsSpec(angle_deg=20, gain_sd=0)
    mixing = mixing_matrices(np.random.default_rng(0), 4000, spec)
    turns = np.linalg.pinv(DOWER) @ mixing @ DOWER
    angles = np.rad2deg(Rotation.from_matrix(turns).magnitude())
    assert np.sqrt((angles**2).mean()) == pytest.approx(20, rel=0.03)
    spec = VirtualPersonsSpec(angle_deg=0, gain_sd=0.2)
    gains = np.diagonal(mixing_matrices(np.random.default_rng(0), 4000, spec), axis1=1, axis2=2)
    assert np.log(gains).std() == pytest.approx(0.2 * np.sqrt(2), rel=0.03)
    assert np.corrcoef(np.log(gains[:, :2]).T)[0, 1] == pytest.approx(0.5, abs=0.05)


def test_a_copy_that_changes_nothing_is_the_person(rows):
    twin = tiny_twin()
    (copy,) = virtual_latents(rows, twin, STILL, seed=0)
    torch.testing.assert_close(copy, latents_of(twin, rows.samples_BLT))


def test_copies_follow_from_seed_number_and_person(rows):
    twin = tiny_twin()
    copies = virtual_latents(rows, twin, VirtualPersonsSpec(copies=3), seed=1)
    fewer = virtual_latents(rows, twin, VirtualPersonsSpec(copies=2), seed=1)
    for one, other in zip(copies, fewer, strict=False):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    others = virtual_latents(rows, twin, VirtualPersonsSpec(copies=1), seed=2)
    different = [latents_of(twin, rows.samples_BLT), *copies, *others]
    for place, one in enumerate(different):
        for other in different[:place]:
            assert float((one - other).abs().mean()) > 0.01


def test_both_recordings_of_a_person_are_changed_alike(rows):
    """The same samples of one person give the same latents; those of another person do not."""
    twin = tiny_twin()
    same = np.repeat(rows.samples_BLT[:1], len(rows), axis=0)
    alike = type(rows)(same, rows.conditions, rows.persons)
    (copy,) = virtual_latents(alike, twin, VirtualPersonsSpec(copies=1), seed=0)
    torch.testing.assert_close(copy[0::2], copy[1::2])
    assert len({tuple(one.flatten()[:5].tolist()) for one in copy[0::2]}) == 8


def test_a_pair_is_of_one_version_and_its_person_is_nobody_elses(rows):
    latents = LatentRows.of(rows, tiny_twin())
    marks = [torch.full_like(latents.latents_BCF, 10.0 * mark) for mark in (1, 2)]
    total = 600
    batch = PairBatches(latents, RECIPE, seed=0, total=total, virtual=marks)(2, slice(0, total))
    versions = []
    for member in ("reference_latent_BCF", "target_latent_BCF"):
        value = batch[member][:, 0, 0]
        versions.append(torch.where(value == 10, 1, torch.where(value == 20, 2, 0)))
    assert torch.equal(*versions)
    assert (torch.bincount(versions[0]).float() / total - 1 / 3).abs().max() < 0.07
    assert torch.equal(batch["person_B"] % 3, versions[0])
    plain = PairBatches(latents, RECIPE, seed=0, total=total)(2, slice(0, total))
    assert torch.equal(batch["person_B"] // 3, plain["person_B"])
    is_plain = versions[0] == 0
    for key in set(plain) - {"person_B"}:
        torch.testing.assert_close(batch[key][is_plain], plain[key][is_plain], equal_nan=True)
    part = PairBatches(latents, RECIPE, seed=0, total=total, virtual=marks)(2, slice(7, 19))
    for key, value in part.items():
        torch.testing.assert_close(value, batch[key][7:19], equal_nan=True)


def test_networks_of_twelve_leads_are_refused(rows):
    twelve = tiny_twin(spec=TINY.model_copy(update={"vae": PublishedVaeSpec()}))
    with pytest.raises(SpecificationError, match="eight independent leads"):
        virtual_latents(rows, twelve, STILL, seed=0)
