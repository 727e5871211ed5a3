"""What selects the weights of a stage: means over fixed batches, or who is found again."""

import pytest
import torch

from ecgtwin.spec.pairs import PairSpec
from ecgtwin.training.judges import mean_judge, retrieval_judge
from ecgtwin.training.objectives import BaseExtractorObjective
from ecgtwin.training.rows import LatentRows
from tests.tiny import tiny_twin
from tests.training.objectives_at_hand import prepared, rows_at_hand


def weights_of(objective):
    return {name: tensor.detach().clone() for name, tensor in objective.state_dict().items()}


@pytest.mark.parametrize("kind", ["vae", "denoiser"])
def test_the_mean_judge_says_the_same_of_the_same_weights(kind):
    objective, batches, _ = prepared(kind)
    judge = mean_judge(batches)(objective)
    before, first = weights_of(objective), judge(weights_of(objective))
    other = {name: tensor * 1.5 for name, tensor in before.items()}
    worse = judge(other)
    assert first == judge(before)
    assert first["criterion"] == first["loss"] != worse["loss"]


def test_the_retrieval_judge_prefers_who_finds_persons_again():
    """Two recordings of a person are made alike: an extractor that looks finds all of them.

    All are told the same: a condition would find its person without a look.
    """
    rows, twin = rows_at_hand(), tiny_twin()
    for number in range(1, len(rows), 2):
        rows.samples_BLT[number] = rows.samples_BLT[number - 1]
    rows.conditions[:] = rows.conditions[:1] * len(rows)
    objective, _, _ = prepared("base_extractor")
    judge = retrieval_judge(LatentRows.of(rows, twin), PairSpec(), seed=3)(objective)
    looking = weights_of(objective)
    blind = {**looking, "network.enter.weight": torch.zeros_like(looking["network.enter.weight"])}
    found, lost = judge(looking), judge(blind)
    assert found["num_persons"] == 8
    assert found["recall_at_1"] == found["auroc"] == 1.0
    assert found["criterion"] == pytest.approx(0.0)
    assert lost["criterion"] > found["criterion"]


def test_only_a_base_extractor_is_judged_by_retrieval():
    latents = LatentRows.of(rows_at_hand(), tiny_twin())
    objective, _, _ = prepared("denoiser")
    assert not isinstance(objective, BaseExtractorObjective)
    with pytest.raises(TypeError, match="base extractor"):
        retrieval_judge(latents, PairSpec(), seed=0)(objective)
