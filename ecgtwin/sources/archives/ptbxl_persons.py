"""Whose each PTB-XL record is, and in which fold: for archives that publish its records again.

``ptbxl_persons.csv.gz`` is cut from ``ptbxl_database.csv`` of PTB-XL 1.0.1 by
``scripts/ptbxl_persons.py``. Wagner, Strodthoff, Bousseljot, Samek, Schaeffter: PTB-XL, a large
publicly available electrocardiography dataset (1.0.1), PhysioNet 2020,
https://doi.org/10.13026/x4td-x982, licensed CC BY 4.0; only the columns were reduced.
"""

import gzip
import re
from functools import cache
from importlib import resources

from ecgtwin.sources.splits import strictest
from ecgtwin.spec.patients import Split

FILE = "ptbxl_persons.csv.gz"
HEADING = """\
# Cut from ptbxl_database.csv of PTB-XL 1.0.1, https://doi.org/10.13026/x4td-x982, by
# Wagner, Strodthoff, Bousseljot, Samek and Schaeffter; CC BY 4.0; only the columns were reduced.
ecg_id,patient_id,strat_fold
"""
_NAME = re.compile(r"HR(\d{5})|(\d{5})_[hl]r", re.ASCII)
SPLIT_OF_FOLD: dict[int, Split] = {9: "validation", 10: "test"}  # as its authors advise


def ptbxl_person(ecg_id: int) -> tuple[str, Split] | None:
    """Return (patient id, official split) of a PTB-XL record; None for a number it lacks.

    The split is the patient's: test before validation before train.
    """
    return _persons().get(ecg_id)


def ptbxl_fold(name: str) -> Split | None:
    """Return the split of a record that bears the name of one of PTB-XL's: its folds never train.

    The names are ``HR00001`` (PhysioNet Challenges) and ``00001_hr``, ``00001_lr`` (PTB-XL).
    """
    match = _NAME.fullmatch(name.rpartition("/")[2])
    person = ptbxl_person(int(match[1] or match[2])) if match else None
    return person[1] if person else None


@cache
def _persons() -> dict[int, tuple[str, Split]]:
    data = (resources.files("ecgtwin.sources") / FILE).read_bytes()
    lines = gzip.decompress(data).decode().removeprefix(HEADING).split()
    rows = [tuple(map(int, line.split(","))) for line in lines]
    splits: dict[int, Split] = {}
    for _, patient_id, fold in rows:
        split = SPLIT_OF_FOLD.get(fold, "train")
        splits[patient_id] = strictest([split, splits.get(patient_id, "train")])
    return {ecg_id: (str(patient_id), splits[patient_id]) for ecg_id, patient_id, _ in rows}
