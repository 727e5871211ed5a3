"""What changes the digest of a cohort and what does not; the schema says which is which."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from ecgtwin.spec.base import Spec
from ecgtwin.spec.cohort import CohortSpec
from ecgtwin.spec.effects import BYTES, RUN, effect_of
from ecgtwin.spec.template import EXAMPLES

PUBLISHED = Path(__file__).parents[2] / "docs" / "cohort.schema.json"
DATA: dict[str, Any] = {
    "version": 1,
    "labels": {"project": "a"},
    "checkpoint": "tiny",
    "corpus": "corpus",
    "patients": {"split": "test", "count": 3},
    "conditions": [{"statements": ["sinus rhythm"], "heart_rate_bpm": [60, 70]}],
    "constraints": ["patient.age_years > 18"],
    "replicates": 2,
    "seed": 1,
    "share_noise": False,
    "batch_rows": 8,
    "sampling": {"num_steps": 4},
    "output": {"url": "out", "rows_per_shard": 64, "rows_per_chunk": 16},
    "run": {"num_workers": 2, "max_tries": 3},
}
CHANGES: dict[str, list[Any]] = {
    "labels": [{}, {"project": "b"}],
    "checkpoint": ["small"],
    "corpus": ["elsewhere"],
    "patients": [
        {"split": "train", "count": 3},
        {"split": "test"},
        {"split": "test", "count": 3, "where": "patient.age_years > 60"},
        {"ids": ["a"]},
        {"population": 3},
        {"population": 3, "seed": 1},
        {"bank": "bank.parquet", "split": "test", "count": 2},
    ],
    "conditions": [
        [{"statements": ["sinus rhythm"], "heart_rate_bpm": [70, 60]}],
        [{"statements": ["sinus rhythm"], "heart_rate_bpm": [60, 70], "sex": "male"}],
        [{"statements": ["sinus rhythm"], "heart_rate_bpm": [60, 70], "age_years": None}],
        [{"statements": ["sinus rhythm"], "heart_rate_bpm": [60, None]}],
        [{"statements": ["sinus rhythm"], "heart_rate_bpm": [60, 70], "label": "slow"}],
        {"grid": {"statements": [["sinus rhythm"]], "heart_rate_bpm": [60, 70]}},
    ],
    "constraints": [[], ["patient.age_years > 19"]],
    "replicates": [1],
    "seed": [2],
    "share_noise": [True],
    "batch_rows": [16],
    "gates": [{}, {"rate_tolerance_bpm": 5}, {"quality": None}, {"accept": "exact"}],
    "sampling": [None, {"num_steps": 5}],
    "run": [{"num_workers": 3, "max_tries": 3}, {}],
    "output.url": ["s3://bucket/out"],
    "output.rows_per_shard": [128],
    "output.rows_per_chunk": [8],
    "output.sampling_rate_hz": [102.4, 500],
    "output.step_mv": [0.001, 0.0025, 0.01],
    "output.codec": [{"name": "lz4"}, {"level": 0}, {"shuffle": "noshuffle"}],
}


def digest(data: dict[str, Any]) -> str:
    return CohortSpec.parse(data, origin="a test").bytes_digest()


def changed(name: str, value: object) -> dict[str, Any]:
    outer, _, inner = name.partition(".")
    return {**DATA, outer: {**DATA[outer], inner: value} if inner else value}


def effects(kind: type[Spec], within: str = "") -> dict[str, str]:
    """Return the effect of every field, by its place; of fields that hold others, of those."""
    found = {}
    for name, field in kind.model_fields.items():
        effect = effect_of(field)
        if effect is not None:
            found[within + name] = effect.on
        else:
            assert isinstance(field.annotation, type), f"{name} says no effect"
            assert issubclass(field.annotation, Spec), f"{name} says no effect"
            found |= effects(field.annotation, f"{within}{name}.")
    return found


EFFECTS = effects(CohortSpec)


def test_every_field_has_an_effect_and_is_tried_here() -> None:
    assert set(EFFECTS) - {"version"} == set(CHANGES)
    assert set(EFFECTS.values()) == {BYTES.on, RUN.on}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in CHANGES.items() for value in values]
)
def test_fields_that_shape_bytes_change_the_digest_and_no_others_do(name: str, value: Any) -> None:
    assert (digest(changed(name, value)) != digest(DATA)) == (EFFECTS[name] == "bytes")


def test_where_a_bank_is_changes_nothing_and_who_is_taken_of_it_does() -> None:
    def of(**patients: object) -> str:
        return digest(changed("patients", {"split": "test", **patients}))

    assert of(bank="a.parquet") == of(bank="s3://bucket/b.parquet")
    assert len({of(bank="a"), of(bank="a", count=3), of(bank="a", where="1 < 2")}) == 3


@given(st.data())
def test_however_the_other_fields_are_a_field_acts_on_bytes_or_does_not(data: Any) -> None:
    """Two specifications that differ in any fields: the digests differ where one acts on bytes."""
    specs = []
    for _ in range(2):
        values: dict[str, Any] = {**DATA, "output": {**DATA["output"]}}
        for name in data.draw(st.lists(st.sampled_from(sorted(CHANGES)), unique=True)):
            outer, _, inner = name.partition(".")
            value = data.draw(st.sampled_from(CHANGES[name]))
            if inner:
                values[outer][inner] = value
            else:
                values[outer] = value
        specs.append(CohortSpec.parse(values, origin="a test"))
    differing = {name for name in EFFECTS if _value_at(specs[0], name) != _value_at(specs[1], name)}
    of_bytes = {name for name in differing if EFFECTS[name] == "bytes"}
    assert (specs[0].bytes_digest() != specs[1].bytes_digest()) == bool(of_bytes)


def _value_at(spec: Any, name: str) -> Any:
    for part in name.split("."):
        spec = getattr(spec, part)
    return spec


def test_what_is_as_it_would_be_anyway_changes_nothing() -> None:
    bare = {name: DATA[name] for name in ("checkpoint", "corpus", "patients", "conditions")}
    bare["output"] = {"url": "out"}
    full = {
        **bare,
        "version": 1,
        "constraints": [],
        "replicates": 1,
        "seed": 0,
        "sampling": None,
        "conditions": [{"age_years": "own", "sex": "own", **DATA["conditions"][0]}],
        "output": {
            "url": "out",
            "rows_per_shard": 512,
            "rows_per_chunk": 16,
            "sampling_rate_hz": None,
            "step_mv": 0.005,
            "codec": {"name": "zstd", "level": 3, "shuffle": "bitshuffle"},
        },
    }
    assert digest(bare) == digest(full)
    full["output"] |= {"step_mv": None, "codec": None}
    assert digest(bare) == digest(full)


def test_a_specification_without_later_fields_keeps_its_digest() -> None:
    """As it was before cohorts had a rate, a step and a codec of their own."""
    assert digest(DATA) == "8f0f4bae0558704c85b7650e4cd8043c"


@given(st.randoms(use_true_random=False))
def test_the_order_of_keys_and_comments_change_nothing(random: Any) -> None:
    def shuffled(value: object) -> object:
        if isinstance(value, dict):
            keys = list(value)
            random.shuffle(keys)
            return {key: shuffled(value[key]) for key in keys}
        return [shuffled(one) for one in value] if isinstance(value, list) else value

    flow = random.random() < 0.5
    text = yaml.safe_dump(shuffled(DATA), sort_keys=False, default_flow_style=flow, width=10_000)
    commented = "# before\n" + text.replace("\n", "  # after\n")
    assert digest(yaml.safe_load(commented)) == digest(DATA)


def test_the_published_schema_is_that_of_the_code() -> None:
    assert PUBLISHED.read_text() == CohortSpec.schema_text(), (
        "write it anew: ecgtwin spec schema > docs/cohort.schema.json"
    )


SCHEMA = json.loads(CohortSpec.schema_text())


def test_editors_learn_the_effect_of_each_field() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for name, field in SCHEMA["properties"].items():
        assert field.get("x-effect") == EFFECTS.get(name)


STRATA = {"strata": [{"count": 3, "heart_rate_bpm": {"start": 60, "stop": 90, "step": 10}}]}


@pytest.mark.parametrize(
    "data",
    [
        DATA,
        *({**DATA, **yaml.safe_load(example)} for example in EXAMPLES.values()),
        {**DATA, "replicates": 1, "conditions": STRATA},
        *(changed(name, value) for name, values in CHANGES.items() for value in values),
    ],
)
def test_what_is_right_is_right_to_an_editor(data: dict[str, Any]) -> None:
    CohortSpec.parse(data, origin="a test")
    jsonschema.validate(data, SCHEMA)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("replicate", 2),
        ("seed", -1),
        ("patients", {"split": "testing"}),
        ("conditions", [{"heart_rate_bpm": 900}]),
        ("conditions", {"strata": [{}]}),
        ("output", {}),
        ("output", {"url": "out", "sampling_rate_hz": 49}),
        ("output", {"url": "out", "step_mv": 0.002}),
        ("output", {"url": "out", "codec": {"name": "gzip"}}),
        ("output", {"url": "out", "codec": {"level": 10}}),
    ],
)
def test_what_is_wrong_is_wrong_to_an_editor(name: str, value: object) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**DATA, name: value}, SCHEMA)
