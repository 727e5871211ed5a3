"""The benchmarks of trained networks refuse what would be no comparison."""

import numpy as np
import pytest

from benchmarks import base_extractor, pathways
from ecgtwin.errors import SpecificationError
from ecgtwin.evaluation.identity import cosine_similarity
from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.spec.model import AdaXSpec
from tests.tiny import TINY, tiny_twin


def with_pathways(**pathways_there):
    denoiser = TINY.denoiser.model_copy(update={"adax": AdaXSpec(**pathways_there)})
    return TINY.model_copy(update={"denoiser": denoiser})


def test_extractors_must_be_told_what_they_stand_for():
    twin = tiny_twin()
    with pytest.raises(SpecificationError, match="without_condition is of preset 'tiny'"):
        base_extractor.check({"with_condition": twin, "without_condition": twin})


def test_age_and_sex_are_nearest_to_their_own():
    people = [(40, "female"), (42, "female"), (60, "female"), (40, "male"), (None, "unknown")]
    vectors = base_extractor.age_and_sex(
        [CardiacCondition(age_years=years, sex=sex) for years, sex in people]
    )
    order = np.argsort(-cosine_similarity(vectors[:1], vectors)[0])
    assert order.tolist()[:3] == [0, 1, 2]
    state = CardiacCondition(statements=("sinus rhythm",), age_years=40, sex="male")
    assert base_extractor.state_of(state) == CardiacCondition(statements=("sinus rhythm",))


def test_pathways_must_be_as_named_on_shared_networks():
    alone = {
        "adax": TINY,
        "adaptive_norm": with_pathways(cross_attention=False),
        "cross_attention": with_pathways(adaptive_norm=False),
    }
    twins = {name: tiny_twin(spec=spec) for name, spec in alone.items()}
    pathways.check(twins)
    with pytest.raises(SpecificationError, match="adaptive_norm is of preset"):
        pathways.check({**twins, "adaptive_norm": twins["adax"]})
    with pytest.raises(SpecificationError, match="same --start-from"):
        pathways.check({**twins, "adax": tiny_twin(seed=1)})
