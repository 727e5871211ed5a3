"""Real recordings for the signal tests, read once."""

import warnings

import numpy as np
import pytest

from ecgtwin.signals.leads import LEADS, lead_positions
from tests.signals.ludb import read_marks


def read_wfdb(path):
    import wfdb

    record = wfdb.rdrecord(str(path))
    return record.p_signal.T[lead_positions(record.sig_name)].astype(np.float32)


def read_ludb(folder, number):
    path = folder / str(number)
    annotations = {lead: read_marks(path.with_suffix(f".{lead.lower()}")) for lead in LEADS}
    return number, read_wfdb(path), annotations


@pytest.fixture(scope="session")
def ptbxl_records(real_data):
    """(record name, (12, 5000) in mV at 500 Hz) of each tenth PTB-XL record."""
    headers = sorted((real_data / "ptbxl" / "records500").rglob("*.hea"))[::10]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wfdb uses what pandas will drop
        return [(header.stem, read_wfdb(header.with_suffix(""))) for header in headers]


@pytest.fixture(scope="session")
def ludb_records(real_data):
    """(record number, (12, 5000) in mV at 500 Hz, {lead: (samples, symbols)}), LUDB. of LUDB."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # wfdb uses what pandas will drop
        return [read_ludb(real_data / "ludb" / "data", number) for number in range(1, 201)]
