"""A patient's split depends on the patient and the salt, and on nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecgtwin.sources.splits import split_of, strictest


def shares(num_patients: int, **settings) -> dict[str, float]:
    found = [split_of(str(patient), **settings) for patient in range(num_patients)]
    return {split: found.count(split) / num_patients for split in ("train", "validation", "test")}


@given(st.text(), st.text())
def test_same_patient_same_split(patient_id: str, salt: str) -> None:
    first, second = (
        split_of(patient_id, salt=salt, validation_share=0.3, test_share=0.3) for _ in range(2)
    )
    assert first == second


def test_shares_are_met_by_many_patients() -> None:
    found = shares(20_000, salt="a", validation_share=0.1, test_share=0.2)
    assert found == pytest.approx({"train": 0.7, "validation": 0.1, "test": 0.2}, abs=0.01)


def test_a_share_of_nothing_is_nobody() -> None:
    assert shares(500, salt="a", validation_share=0, test_share=0)["train"] == 1


def test_salts_are_independent() -> None:
    def tests(salt: str) -> set[int]:
        return {
            patient
            for patient in range(4000)
            if split_of(str(patient), salt=salt, validation_share=0, test_share=0.5) == "test"
        }

    assert len(tests("a") & tests("b")) / 4000 == pytest.approx(0.25, abs=0.03)


def test_field_borders_count() -> None:
    moved = [
        split_of("b" * n, salt="b" * (12 - n), validation_share=0.3, test_share=0.3)
        for n in range(12)
    ]
    assert len(set(moved)) > 1


def test_splits_never_change() -> None:
    golden = {"0": "train", "13619": "train", "3": "test", "30": "test", "7": "validation"}
    found = {
        patient: split_of(patient, salt="ecgtwin", validation_share=0.1, test_share=0.1)
        for patient in golden
    }
    assert found == golden


def test_a_twin_of_a_test_patient_is_test() -> None:
    assert strictest(["train", "test", "validation"]) == "test"
    assert strictest(["train", "validation"]) == "validation"
    assert strictest(["train"]) == "train"
