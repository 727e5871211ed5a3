"""Specifications: strict, frozen, and errors that name the field, what was found and allowed."""

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.builder import CohortBuilder
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.condition import CardiacCondition, Statement, condition_from_columns
from ecgtwin.spec.edit import EditSpec
from ecgtwin.spec.model import BaseExtractorSpec, TwinSpec, VaeSpec
from ecgtwin.spec.presets import preset
from ecgtwin.spec.recipe import load_recipe
from ecgtwin.spec.shard import cut_shards
from ecgtwin.spec.states import WantedState
from ecgtwin.spec.template import EXAMPLES, write_new
from ecgtwin.spec.values import NumberRange


@pytest.fixture
def template(tmp_path):
    path = tmp_path / "cohort.yaml"
    spec = CohortBuilder(checkpoint="tiny", corpus="corpus", url="cohort")
    spec.patients(split="test", count=5)
    spec.condition("sinus rhythm", heart_rate_bpm={"start": 60, "stop": 100, "count": 5})
    spec.condition("atrial fibrillation", heart_rate_bpm=[80, 110], age_years=60)
    spec.condition("left bundle branch block", heart_rate_bpm=70, age_years=70, sex="male")
    spec.fields(replicates=2).output(rows_per_shard=16, rows_per_chunk=16)
    write_new(path, spec.yaml(with_examples=True))
    return path


def changed(template, old, new):
    text = template.read_text()
    assert old in text
    template.write_text(text.replace(old, new))
    return template


def test_the_template_is_a_valid_commented_specification(template):
    spec = CohortSpec.from_yaml(template)
    assert spec.num_states() == len(spec.states()) == 8
    assert template.read_text().count("#") > 10
    with pytest.raises(SpecificationError, match="exists"):
        write_new(template, "version: 1")


def test_the_examples_of_the_template_are_valid(template):
    text = template.read_text()
    for name, example in EXAMPLES.items():
        commented = "\n".join(f"# {line}" for line in example.splitlines())
        assert (commented in text) == (name != "replicates")
        text = text.replace(commented, example)
    template.write_text(text)
    spec = CohortSpec.from_yaml(template)
    assert (spec.seed, spec.share_noise, len(spec.constraints)) == (1, True, 2)
    assert spec.sampling is not None
    assert spec.labels


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        ("replicates: 2", "replicate: 2", ["replicate: unknown key", "replicates"]),
        ("count: 5}", "cuont: 5}", ["cuont"]),
        (
            "heart_rate_bpm: 70",
            "heart_rate_bpm: 0",
            ["conditions.2.heart_rate_bpm", "20", "found 0"],
        ),
        ("age_years: 70", "age_years: 900", ["conditions.2.age_years", "120", "found 900"]),
        ("sex: male", "sex: f", ["conditions.2.sex", "female", "found 'f'"]),
        ("rows_per_shard: 16", "rows_per_shard: 20", ["multiple", "16"]),
        ("split: test", "split: tset", ["patients", "test"]),
        ("version: 1", "version: 2", ["version", "found 2"]),
        ("corpus: corpus", "# corpus", ["corpus is not given", "patients are of one"]),
        ("replicates: 2", "replicates: [", ["is not YAML"]),
    ],
)
def test_mistakes_are_named(template, old, new, parts):
    with pytest.raises(SpecificationError) as caught:
        CohortSpec.from_yaml(changed(template, old, new))
    for part in parts:
        assert part in str(caught.value), str(caught.value)
    assert str(template) in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(SpecificationError, match="cannot be read") as caught:
        CohortSpec.from_yaml(tmp_path / "nothing.yaml")
    assert "\n" not in str(caught.value)


def test_the_digest_covers_what_is_made_and_nothing_else(template):
    data = yaml.safe_load(template.read_text())
    spec = CohortSpec.parse(data, origin="test")

    def digest(**changes):
        return CohortSpec.parse({**data, **changes}, origin="test").bytes_digest()

    elsewhere = {**data["output"], "url": "s3://bucket/other"}
    assert digest(run={"num_workers": 7}) == spec.bytes_digest()
    assert digest(output=elsewhere) == spec.bytes_digest()
    for changes in (
        {"seed": 1},
        {"replicates": 3},
        {"sampling": {"num_steps": 3}},
        {"batch_rows": 8},
        {"output": {**data["output"], "rows_per_shard": 32}},
        {"patients": {"split": "test", "count": 3}},
    ):
        assert digest(**changes) != spec.bytes_digest()


def test_statements_are_canonical_and_certainties_stay_apart():
    assert Statement.model_validate(" Sinus  RHYTHM ").code == "sinus rhythm"
    with pytest.raises(ValidationError, match="words"):
        Statement.model_validate("  ")
    digests = {
        CardiacCondition(statements=({"code": "mi", "certainty": word},)).digest()
        for word in ("definite", "possible", "negated")
    }
    assert len(digests) == 3


def test_unknown_is_none_and_not_a_number():
    columns = {
        "statements": [["sinus rhythm"]],
        "certainties": [["possible"]],
        "heart_rate_bpm": [math.nan],
        "age_years": [None],
        "sex": ["unknown"],
    }
    condition = condition_from_columns(columns, 0)
    assert condition.heart_rate_bpm is None
    assert condition.age_years is None
    assert condition.statements[0].certainty == "possible"
    for rate, known in ((0.0, None), (310.0, None), (72.0, 72.0)):
        columns["heart_rate_bpm"] = [rate]
        assert condition_from_columns(columns, 0).heart_rate_bpm == known


def test_own_values_are_the_patients():
    own = CardiacCondition(age_years=71, sex="female", heart_rate_bpm=50)
    spec = WantedState(
        statements=("atrial fibrillation",), heart_rate_bpm=120.0, age_years="own", sex="male"
    )
    resolved = spec.of(age_years=own.age_years, sex=own.sex)
    assert (resolved.age_years, resolved.sex, resolved.heart_rate_bpm) == (71, "male", 120)
    assert WantedState().of(age_years=own.age_years, sex=own.sex).heart_rate_bpm is None


def test_rate_range_includes_both_ends():
    assert NumberRange(start=45, stop=150, count=4).values() == [45, 80, 115, 150]


@given(st.integers(0, 5000), st.integers(1, 700))
def test_shards_partition_the_rows(num_rows, rows_per_shard):
    shards = cut_shards(num_rows, rows_per_shard)
    rows = [row for shard in shards for row in range(shard.start, shard.stop)]
    assert rows == list(range(num_rows))
    assert [shard.index for shard in shards] == list(range(len(shards)))
    assert all(0 < len(shard) <= rows_per_shard for shard in shards)
    assert shards[1:] == list(shards)[1:]
    assert [shards[index] for index in range(len(shards))] == list(shards)
    assert shards[-1:] == list(shards)[-1:]
    with pytest.raises(IndexError):
        shards[len(shards)]


def test_recipes_and_presets_are_found_by_name_or_refused():
    for name in ("tiny", "tiny-continue"):
        assert preset(load_recipe(name).preset).preset == "tiny"
    with pytest.raises(SpecificationError, match="tiny"):
        preset("huge")
    with pytest.raises(SpecificationError, match="cannot be read"):
        load_recipe("nothing")
    with pytest.raises(ValueError, match="16 times"):
        VaeSpec(num_samples=1000)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vae": {"kind": "x"}}, "vae.kind: 'x' is unknown; allowed: published, strided"),
        (
            {"process": {"kind": None}},
            "process.kind: None is unknown; allowed: ddpm, rectified_flow",
        ),
        (
            {"denoiser": 3},
            "denoiser: needs keys and values, kind one of dit, unet (found 3)",
        ),
        (
            {"vae": {"kind": "published", "widht": 1}},
            "vae.widht: unknown key; allowed here: kind, latent_channels, latent_factor, "
            "num_frames, num_leads, num_samples",
        ),
    ],
)
def test_a_kind_that_is_not_there_is_named_with_those_that_are(changes, message):
    with pytest.raises(SpecificationError) as caught:
        TwinSpec.parse({"preset": "mine", "sampling_rate_hz": 100, **changes}, origin="twin.yaml")
    assert str(caught.value) == f"twin.yaml: {message}"


def test_a_kind_without_default_must_be_given():
    with pytest.raises(SpecificationError) as caught:
        EditSpec.parse({"edits": [{"statement": "sinus rhythm"}]}, origin="edit")
    assert str(caught.value) == (
        "edit: edits.0.kind: is required and was not given; allowed: add, replace, reweight"
    )


def test_a_cohort_cannot_ask_for_leads_that_its_store_cannot_hold(template):
    data = yaml.safe_load(template.read_text())
    data["sampling"] = {"leads": "as_generated"}
    with pytest.raises(
        SpecificationError, match=r"sampling\.leads: is 'as_generated'.*EcgTwin\.draw"
    ):
        CohortSpec.parse(data, origin="cohort.yaml")
    data["sampling"] = {"leads": "consistent"}
    assert CohortSpec.parse(data, origin="cohort.yaml").sampling.leads == "consistent"


def test_a_switch_that_came_later_changes_no_digest_while_it_is_on():
    written = preset("tiny").base_extractor.model_dump(mode="json")
    assert not {"condition_pathway", "age_and_sex", "local_frames"} & set(written)
    without = preset("tiny-local-no-condition")
    assert without.base_extractor.model_dump(mode="json")["local_frames"] == 16
    assert without.base_extractor.model_dump(mode="json")["condition_pathway"] is False
    assert TwinSpec.parse(without.model_dump(mode="json"), origin="test") == without
    for fields, words in (
        (
            {"reference_mask": True, "condition_pathway": False},
            "reference_mask is of the condition",
        ),
        ({"tokens": {"kind": "published"}, "age_and_sex": False}, "no input for an unknown age"),
    ):
        with pytest.raises(SpecificationError, match=words):
            BaseExtractorSpec.parse(fields, origin="test")
    halves = preset("tiny-local").model_dump(mode="json")
    halves["base_extractor"]["local_frames"] = 24
    with pytest.raises(SpecificationError, match="24 does not divide the 64 frames"):
        TwinSpec.parse(halves, origin="test")
