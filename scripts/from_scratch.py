"""Keep the figures of ``ecgtwin demo --from-scratch``, which every other demo's report quotes.

python scripts/from_scratch.py DEMO_FOLDER
"""

import json
import os
import platform
import sys
from datetime import UTC, datetime
from pathlib import Path

TARGET = Path("ecgtwin/weights/tiny/from_scratch.json")
KEPT = ("counts", "heart_rate", "limb_leads", "identity", "frechet", "nearest")


def main(words: list[str]) -> int:
    """Write the scalar figures of the demo in DEMO_FOLDER beside the shipped weights."""
    results = json.loads((Path(words[0]) / "results.json").read_text())
    steps = ", ".join(f"{row['network']} {row['steps']}" for row in results["training"])
    note = (
        f"`{results['about']['command']}` on {os.cpu_count()} CPU cores ({platform.machine()}), "
        f"{datetime.now(UTC):%Y-%m-%d}; steps from nothing: {steps}."
    )
    figures = {name: _scalars(results[name]) for name in KEPT}
    TARGET.write_text(json.dumps({"note": note, **figures}, indent=1) + "\n")
    return 0


def _scalars(value: object) -> object:
    if not isinstance(value, dict):
        return value
    return {key: _scalars(item) for key, item in value.items() if not isinstance(item, list)}


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
