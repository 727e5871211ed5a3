"""Does a recording survive inversion? An edit that changes nothing, against the VAE alone.

python -m benchmarks.inversion PTBXL_CORPUS [--checkpoint tiny] [--recordings 48]

The edited branch starts from the undone noise and is not held on the way back, so its error is that
of VAE and inversion together; the source branch ends at what the VAE alone keeps.
"""

import argparse

import numpy as np

from benchmarks.facts import write_result
from ecgtwin.evaluation.edits import with_interval
from ecgtwin.signals.record import EcgRecord
from ecgtwin.spec.condition import condition_from_columns
from ecgtwin.spec.edit import Replace
from ecgtwin.store.reader import Corpus
from ecgtwin.twin.persons import Reference
from ecgtwin.twin.twin import EcgTwin

CONDITION_COLUMNS = ("statements", "certainties", "heart_rate_bpm", "age_years", "sex")


def main() -> None:
    """Invert and regenerate the first recordings that have a statement; write the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("ptbxl")
    parser.add_argument("--checkpoint", default="tiny")
    parser.add_argument("--recordings", type=int, default=48)
    arguments = parser.parse_args()
    twin, corpus = EcgTwin.load(arguments.checkpoint), Corpus(arguments.ptbxl)
    columns = {name: corpus.column(name) for name in CONDITION_COLUMNS}
    rows = [row for row, codes in enumerate(columns["statements"]) if len(codes)]
    alone, inverted = [], []
    for row in rows[: arguments.recordings]:
        condition = condition_from_columns(columns, row)
        (samples_mv,) = corpus.samples_mv([row])
        record = EcgRecord(samples_mv, twin.sampling_rate_hz, "", str(row))
        same = condition.statements[0]
        found = twin.edit_recording(
            Reference(record, condition), [Replace(statement=same.code, by=same)]
        )
        for errors, ecg in ((alone, found.source), (inverted, found.edited)):
            errors.append(float(np.sqrt(np.mean((ecg.samples_mv - samples_mv) ** 2))))
    added = np.array(inverted) / np.array(alone) - 1
    result: dict[str, object] = {
        "checkpoint": twin.digest,
        "recordings": len(added),
        "vae_error_mv": with_interval(np.array(alone)),
        "added_share": with_interval(added),
        "worst_added_share": float(added.max()),
    }
    print(result)
    print(write_result("inversion", result))


if __name__ == "__main__":
    main()
