"""Make the packaged table of PTB-XL's persons and folds out of its published table.

python scripts/ptbxl_persons.py ptbxl_database.csv[.gz]
"""

import argparse
import gzip
from pathlib import Path

from ecgtwin.sources.archives.ptbxl_persons import FILE, HEADING
from ecgtwin.store.csv_tables import read_csv

TARGET = Path(__file__).parent.parent / "ecgtwin" / "sources" / FILE


def main() -> None:
    """Write ecg_id, patient_id and fold, one line each, by ecg_id: the same bytes every time."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    path = parser.parse_args().table
    columns = ("ecg_id", "patient_id", "strat_fold")
    table = read_csv(path.read_bytes(), path.name, required=columns)
    numbers = [table.whole_numbers(column) for column in columns]
    if table.malformed or any((column < 0).any() for column in numbers):
        raise SystemExit(f"{path.name} has lines that make no sense; take the published table")
    lines = sorted(zip(*(column.tolist() for column in numbers), strict=True))
    text = HEADING + "".join(f"{ecg},{patient},{fold}\n" for ecg, patient, fold in lines)
    TARGET.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(f"{len(lines)} records, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
