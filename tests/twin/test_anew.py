"""What is kept is kept, what is begun anew is untrained, and what does not fit is refused."""

import pytest
import torch

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.model import AdaXSpec, BaseExtractorSpec, DiTSpec, VaeSpec
from ecgtwin.spec.process import DdpmSpec
from ecgtwin.twin.anew import begun_anew
from ecgtwin.twin.twin import EcgTwin
from tests.tiny import TINY, tiny_twin

ONE_PATHWAY = TINY.model_copy(
    update={
        "preset": "one-pathway",
        "denoiser": TINY.denoiser.model_copy(update={"adax": AdaXSpec(cross_attention=False)}),
    }
)


def test_a_denoiser_of_another_kind_on_the_networks_that_are_there():
    twin = tiny_twin()
    begun = begun_anew(twin, ONE_PATHWAY, ["denoiser"], seed=4)
    assert begun.spec == ONE_PATHWAY
    assert begun.vae is twin.vae
    assert begun.base_extractor is twin.base_extractor
    fresh = EcgTwin.untrained(ONE_PATHWAY, seed=4).denoiser.state_dict()
    for name, value in begun.denoiser.state_dict().items():
        assert torch.equal(value, fresh[name])


def test_the_same_kind_begins_anew_too():
    twin = tiny_twin()
    begun = begun_anew(twin, TINY, ["denoiser"], seed=0)
    assert not begun.denoiser.head.weight.any()
    assert twin.denoiser.head.weight.any()


@pytest.mark.parametrize(
    ("changes", "networks", "words"),
    [
        ({"denoiser": DiTSpec(width=32)}, ["base_extractor"], "denoiser of preset 'tiny'"),
        ({"vae": VaeSpec(width=32)}, ["denoiser"], "vae of preset 'tiny' .*: vae differ"),
        (
            {"base_extractor": BaseExtractorSpec(width=16, num_layers=2, num_heads=2)},
            ["denoiser"],
            "base_extractor differ; begin it anew",
        ),
        (
            {"base_extractor": TINY.base_extractor.model_copy(update={"base_width": 12})},
            ["base_extractor"],
            "base_extractor.base_width differ",
        ),
        ({"process": DdpmSpec()}, ["base_extractor"], "process differ"),
    ],
)
def test_a_network_that_does_not_fit_cannot_be_kept(changes, networks, words):
    with pytest.raises(SpecificationError, match=words):
        begun_anew(tiny_twin(), TINY.model_copy(update=changes), networks, seed=0)


def test_the_extractor_anew_leaves_a_denoiser_that_reads_its_vectors():
    twin = tiny_twin()
    sizes = TINY.base_extractor.model_copy(update={"condition_pathway": False})
    spec = TINY.model_copy(update={"base_extractor": sizes})
    begun = begun_anew(twin, spec, ["base_extractor"], seed=0)
    assert begun.denoiser is twin.denoiser
    assert not any("tokens" in name for name in begun.base_extractor.state_dict())
