"""Draw docs/twin.svg from a demo: a reference ECG and its twins in three other states.

python scripts/readme_picture.py DEMO_FOLDER
"""

import sys
from pathlib import Path

from ecgtwin.cohort_report import drawings_of, measure_cohort
from ecgtwin.plots.ecg_paper import draw_side_by_side


def main(words: list[str]) -> int:
    """Write the picture."""
    measured = measure_cohort(str(Path(words[0]) / "cohort"), say=lambda line: None)
    drawings = drawings_of(measured)
    shown = [drawings.reference, *drawings.twins]
    svg = draw_side_by_side(
        [(drawing.samples_mv, drawing.caption.partition(":")[0]) for drawing in shown],
        sampling_rate_hz=drawings.sampling_rate_hz,
        marker="SYNTHETIC - not for clinical use",
    )
    Path("docs").mkdir(exist_ok=True)
    Path("docs/twin.svg").write_text(svg)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
