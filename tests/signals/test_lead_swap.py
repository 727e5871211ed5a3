import json

import numpy as np
import pytest

from ecgtwin.signals.lead_swap import LIMB_FROM_CHEST
from ecgtwin.signals.leads import derive_limb_leads, independent_leads
from ecgtwin.signals.measurement import measure_all, swapped_limb_leads
from tests.conftest import REPOSITORY
from tests.signals.pulses import pulse_train

ELECTRODES = {"RA": 0, "LA": 1, "LL": 2}


def exchanged(samples, first, second):
    """Return (12, time) as recorded with two electrodes exchanged: leads are differences."""
    one, two = samples[0], samples[1]
    potentials = np.stack([-(one + two) / 3, (2 * one - two) / 3, (2 * two - one) / 3])
    order = [0, 1, 2]
    a, b = ELECTRODES[first], ELECTRODES[second]
    order[a], order[b] = b, a
    right, left, foot = potentials[order]
    chest = independent_leads(samples)[2:]
    return derive_limb_leads(np.concatenate([[left - right, foot - right], chest]))


def flags(recordings):
    return [one.swapped_limb_leads for one in measure_all(recordings, [500] * len(recordings))]


@pytest.mark.parametrize("pair", ["LA/RA", "RA/LL"])
def test_exchanged_electrodes_are_found_and_named(ludb_records, pair):
    some = [exchanged(samples, *pair.split("/")) for _, samples, _ in ludb_records[::2]]
    found = flags(some)
    assert found.count(pair) >= 0.92 * len(some)
    assert len(some) - found.count(pair) - found.count(None) <= 2


def test_recordings_as_they_are_raise_no_alarm(ludb_records, ptbxl_records):
    """Nor does an exchange of left arm and left leg, which looks like a turned axis."""
    as_they_are = [x for _, x, _ in ludb_records] + [x for _, x in ptbxl_records]
    assert len(as_they_are) - flags(as_they_are).count(None) <= 0.01 * len(as_they_are)
    turned = [exchanged(samples, "LA", "LL") for samples in as_they_are[::3]]
    assert len(turned) - flags(turned).count(None) <= 0.02 * len(turned)


def test_one_recording_and_silence():
    heart = np.array([0.6, 1.0, -0.5, 0.3, 0.8, 1.2, 1.1, 0.9])
    wave = pulse_train(sampling_rate_hz=500)[0][1]
    samples = derive_limb_leads(heart[:, None] * wave)
    assert swapped_limb_leads(samples, sampling_rate_hz=500) is None
    assert swapped_limb_leads(exchanged(samples, "LA", "RA"), sampling_rate_hz=500) == "LA/RA"
    assert swapped_limb_leads(exchanged(samples, "RA", "LL"), sampling_rate_hz=500) == "RA/LL"
    assert swapped_limb_leads(np.zeros((12, 5000)), sampling_rate_hz=500) is None


def test_the_weights_are_those_that_the_benchmark_fits():
    result = json.loads((REPOSITORY / "benchmarks/results/measurement.json").read_text())
    np.testing.assert_allclose(LIMB_FROM_CHEST, result["limb_from_chest"], atol=5e-4)
