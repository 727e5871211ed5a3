"""One row drawn again: the same to the last bit where it was made, within a tolerance elsewhere."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from ecgtwin.cli import main
from ecgtwin.errors import CohortMismatchError, DamageError, SpecificationError
from ecgtwin.executors.local import LocalExecutor
from ecgtwin.generation.prepare import resolve_cohort, write_plan
from ecgtwin.generation.run import generate_cohort
from ecgtwin.generation.sample_again import TOLERANCE_MV, SampleAgain, sample_again
from ecgtwin.store.layout import FILL
from ecgtwin.store.manifest import read_manifest
from tests.generation.cohorts import copied
from tests.generation.corpora import make_checkpoint, make_spec, objects_under
from tests.generation.test_exact import SOME_PASS
from tests.tiny import tiny_twin


@pytest.fixture(scope="module")
def url(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """36 rows in three shards, of which some took several attempts."""
    folder = tmp_path_factory.mktemp("cohort") / "cohort"
    output = {"url": str(folder), "rows_per_shard": 12, "rows_per_chunk": 4}
    spec = make_spec(
        inputs, folder, replicates=3, gates=SOME_PASS | {"max_attempts": 4}, output=output
    )
    assert generate_cohort(spec, executor=LocalExecutor()).is_complete
    return str(folder)


def attempts(url: str) -> list[int]:
    return [one for index in range(3) for one in read_manifest(url, index).columns["attempt"]]


def test_rows_of_every_attempt_are_drawn_again_to_the_last_bit(url: str) -> None:
    before = objects_under(url)
    of_attempt = {attempt: row for row, attempt in enumerate(attempts(url))}
    assert {0, 1, 3} <= of_attempt.keys()
    for attempt, row in of_attempt.items():
        found = sample_again(url, row)
        assert (found.row, found.attempt, found.other_numerics) == (row, attempt, ())
        assert found.is_same
        assert found.difference_mv == 0
        np.testing.assert_array_equal(found.drawn, found.stored)
        assert np.abs(found.stored.astype(int)).max() > 20
    assert objects_under(url) == before


def test_on_other_numerics_it_is_compared_within_the_tolerance_and_says_so(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = Path(url) / "numerics.json"
    data = name.read_bytes()
    name.write_text(json.dumps({**json.loads(data), "torch": "1.0"}))
    try:
        found = sample_again(url, 5)
        assert main(["cohort", "sample", url, "5"]) == 0
    finally:
        name.write_bytes(data)
    assert found.is_same
    (said,) = found.other_numerics
    assert re.fullmatch(r"torch is '.*' here and '1.0' there", said)
    assert "drawn with other numerics: torch is " in capsys.readouterr().out


def an(steps_apart: int, *, other: tuple[str, ...] = ()) -> SampleAgain:
    stored = np.zeros((12, 10), np.int16)
    drawn = stored.copy()
    drawn[6, 3] = steps_apart
    return SampleAgain(5, "p", "sinus rhythm", 0, 0, True, stored, drawn, 0.005, other)


def test_a_difference_counts_as_it_should() -> None:
    elsewhere = ("torch is '2' here and '1' there",)
    limit = round(TOLERANCE_MV / 0.005)
    assert an(0).is_same
    assert not an(1).is_same
    assert an(-limit, other=elsewhere).is_same
    assert not an(limit + 1, other=elsewhere).is_same
    assert an(1).lines()[-1] == (
        "drawn again it differs by up to 0.005 mV: it is NOT the stored one; 1 of 120 samples "
        "differ, most in lead V1"
    )
    assert "within the tolerance of 0.02 mV" in an(1, other=elsewhere).lines()[-1]


def test_another_ecg_in_its_place_is_told(
    inputs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The cohort holds what another seed draws."""
    urls = [str(tmp_path / name) for name in ("one", "other")]
    for seed, place in enumerate(urls):
        spec = make_spec(inputs, place, seed=seed)
        assert generate_cohort(spec, executor=LocalExecutor()).is_complete
    name = "signals.zarr/samples_mv/c/0/0/0"
    (Path(urls[0]) / name).write_bytes((Path(urls[1]) / name).read_bytes())
    assert main(["cohort", "sample", urls[0], "1"]) == 1
    assert "it is NOT the stored one" in capsys.readouterr().out
    assert main(["cohort", "sample", urls[0], "11"]) == 0


def test_what_cannot_be_drawn_is_refused(inputs: Path, url: str, tmp_path: Path) -> None:
    with pytest.raises(SpecificationError, match=r"row 36 is not in .* rows are 0 to 35"):
        sample_again(url, 36)
    with pytest.raises(SpecificationError, match="row -1"):
        sample_again(url, -1)
    make_checkpoint(tmp_path / "twin", seed=5)
    with pytest.raises(CohortMismatchError, match="say where that is with --checkpoint"):
        sample_again(url, 0, checkpoint=str(tmp_path / "twin"))
    unmade = write_plan(resolve_cohort(make_spec(inputs, tmp_path / "unmade")))
    with pytest.raises(CohortMismatchError, match="not made yet: shard 2 is not committed"):
        sample_again(unmade.url, 9)


def test_a_row_of_a_cohort_that_lost_its_numerics_or_its_description_says_what_mends_it(
    url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("numerics.json", "cohort.json"):
        harmed = copied(url, tmp_path / name)
        Path(harmed, name).unlink()
        assert main(["cohort", "sample", harmed, "0"]) == 2
        assert "`ecgtwin cohort repair" in capsys.readouterr().err


def test_samples_that_are_not_finite_are_the_same_again_and_not_damaged(
    inputs: Path, tmp_path: Path
) -> None:
    broken = tiny_twin()
    with torch.no_grad():
        next(iter(broken.vae.decoder.parameters()))[0] = float("nan")
    broken.save(str(tmp_path / "twin"), provenance={"trained": False})
    spec = make_spec(
        inputs,
        tmp_path / "cohort",
        checkpoint=str(tmp_path / "twin"),
        gates=SOME_PASS | {"max_attempts": 2},
    )
    assert generate_cohort(spec, executor=LocalExecutor()).is_complete
    found = sample_again(spec.output.url, 0)
    assert (found.attempt, found.is_accepted, found.is_same) == (1, False, True)
    assert (found.stored == FILL).any()


def test_signals_of_another_shape_are_damage(url: str, tmp_path: Path) -> None:
    harmed = copied(url, tmp_path / "cohort")
    name = Path(harmed, "signals.zarr/samples_mv/zarr.json")
    described = json.loads(name.read_text())
    described["shape"][0] = 12
    name.write_text(json.dumps(described))
    with pytest.raises(DamageError, match=r"the plan says.*cohort repair"):
        sample_again(harmed, 35)
