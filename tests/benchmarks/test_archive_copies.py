"""The made archives are archives: every recording is usable or as the original, none is a copy."""

import numpy as np

from benchmarks.archive_copies import write_archive
from ecgtwin.signals.fingerprint import differing_bits, fingerprint, fingerprint_words
from ecgtwin.signals.usable import usable_window
from ecgtwin.sources.opening import open_archive
from ecgtwin.spec.ingest import IngestSpec


def test_a_larger_archive_of_a_few_recordings(real_data, tmp_path):
    for rate_hz in (500, 100):
        folder = tmp_path / str(rate_hz)
        originals = tmp_path / f"originals-{rate_hz}"
        write_archive(real_data / "ptbxl", originals, num_records=3, rate_hz=500)
        paths = write_archive(originals, folder, num_records=9, rate_hz=rate_hz)
        settings = IngestSpec(ptbxl_rate_hz=rate_hz)
        rows = open_archive("ptbxl", str(folder), settings).read(0, 9)
        assert len(rows) == len(paths) == 9
        assert {row.record.sampling_rate_hz for row in rows} == {rate_hz}
        assert len({row.record.patient_id for row in rows}) == 9
        prints = [
            fingerprint(usable_window(row.record, settings)[0], sampling_rate_hz=102.4)
            for row in rows
        ]
        words = fingerprint_words(prints)
        apart = differing_bits(words[:, None], words[None])
        assert apart[~np.eye(9, dtype=bool)].min() > 40
