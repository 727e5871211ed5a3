"""What more references of a person are worth: base vectors averaged over 1, 2 and 4 recordings.

python -m benchmarks.references SIMULATED_CORPUS PTBXL_CORPUS [--checkpoint tiny]

Each person's last recording is held out; the base vector averaged over earlier ones is compared
with that of the held-out recording, and with the held-out recordings of all other persons. The
same persons stand in every row of one corpus, so that only the number of references differs; a
second table takes for each number all persons that have enough.
"""

import argparse
import json
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.facts import write_result
from ecgtwin.evaluation.edits import with_interval
from ecgtwin.evaluation.identity import cosine_similarity, own_against_others
from ecgtwin.spec.condition import condition_from_columns
from ecgtwin.store.reader import Corpus
from ecgtwin.twin.persons import averaged
from ecgtwin.twin.twin import EcgTwin

NUM_REFERENCES = (1, 2, 4)
CONDITION_COLUMNS = ("statements", "certainties", "heart_rate_bpm", "age_years", "sex")
Vectors = NDArray[np.float32]


def main() -> None:
    """Compare, print a table, write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("simulated")
    parser.add_argument("ptbxl")
    parser.add_argument("--checkpoint", default="tiny")
    arguments = parser.parse_args()
    twin = EcgTwin.load(arguments.checkpoint)
    result: dict[str, object] = {"checkpoint": twin.digest}
    for name in ("simulated", "ptbxl"):
        visits = _visits(twin, Corpus(getattr(arguments, name)))
        result[name] = {
            "persons_with_all": _rows(twin, visits, least=max(NUM_REFERENCES)),
            "persons_with_enough": _rows(twin, visits, least=None),
        }
    print(json.dumps(result, indent=1))
    print(write_result("references", result))


def _visits(twin: EcgTwin, corpus: Corpus) -> list[Vectors]:
    """Return the base vectors (visit, width) of each person with two recordings or more."""
    columns = {name: corpus.column(name) for name in CONDITION_COLUMNS}
    rows_of: dict[str, list[int]] = {}
    for row, patient in enumerate(corpus.column("patient_id")):
        rows_of.setdefault(str(patient), []).append(row)
    found = []
    for rows in rows_of.values():
        if len(rows) > 1:
            conditions = [condition_from_columns(columns, row) for row in rows]
            found.append(twin.base_vectors(corpus.samples_mv(rows), conditions))
    return found


def _rows(twin: EcgTwin, visits: Sequence[Vectors], *, least: int | None) -> dict[str, object]:
    rows: dict[str, object] = {}
    for num in NUM_REFERENCES:
        chosen = [own for own in visits if len(own) > (least or num)]
        if len(chosen) < 2:
            rows[str(num)] = {"persons": len(chosen), "reason": "two persons are needed"}
            continue
        held_out = np.stack([own[-1] for own in chosen])
        references = np.stack([averaged(twin, own[:num]) for own in chosen])
        similarity = cosine_similarity(references, held_out)
        figures = own_against_others(similarity, np.arange(len(chosen)))
        rows[str(num)] = {
            "persons": len(chosen),
            "own_similarity": with_interval(np.diagonal(similarity), _mean),
            "auroc": figures["auroc"],
            "recall_at_1": figures["recall_at_1"],
            "mean_others": figures["mean_others"],
        }
    return rows


def _mean(values: NDArray[np.float64]) -> float:
    return float(values.mean())


if __name__ == "__main__":
    main()
