"""The benchmark of planning cohorts, at a tiny size: its cases are what it says they are."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PATIENTS, CONDITIONS = 400, 100


@pytest.fixture(scope="module")
def result():
    command = [sys.executable, "-m", "benchmarks.cohort_planning", "--runs", "1"]
    command += ["--patients", str(PATIENTS), "--conditions", str(CONDITIONS)]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def test_constraints_remove_about_a_third_and_the_splits_hold_the_rest(result):
    for name in ("product", "product of 50,000 classes"):
        found = result["large"][name]
        assert 0.6 < found["rows"] / (PATIENTS * CONDITIONS) < 0.75
        splits = sum(found[f"rows_of_{split}"] for split in ("train", "validation", "test"))
        assert splits == found["rows"]
        assert found["shards"] == -(-found["rows"] // 512)
        assert 100 < found["classes"] <= PATIENTS


def test_strata_have_the_rows_that_they_count(result):
    for name in ("strata", "strata, by patient"):
        assert result["large"][name]["rows"] == PATIENTS * CONDITIONS
    assert "rows_of_train" not in result["large"]["strata"]


def test_the_small_plans_are_the_same_cohort_until_constraints(result):
    grid, listed, constrained = result["small"].values()
    assert grid["rows"] == listed["rows"] == PATIENTS * CONDITIONS > constrained["rows"]
    assert grid["lines"] < 20 < PATIENTS < listed["lines"]


def test_every_bar_is_one_of_a_limit(result):
    assert len(result["bars"]) == 11
    for bar in result["bars"].values():
        assert bar["met"] == (bar["found"] <= bar["at_most"])
        assert bar["ratio_to_limit"] == pytest.approx(bar["found"] / bar["at_most"], abs=1e-3)
