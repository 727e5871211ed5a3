"""What every result says of its run: machine, versions, command, date."""

import json
import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("ecgtwin", "torch", "numpy", "scipy", "pydantic", "wfdb", "zarr", "ray")


def facts() -> dict[str, object]:
    """Return what is needed to read a figure: no path and no host name."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "command": " ".join(["python", *(shlex.quote(_short(word)) for word in sys.orig_argv[1:])]),
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "versions": {"python": platform.python_version(), **_versions()},
    }


def write_result(name: str, result: dict[str, object]) -> Path:
    """Write ``results/NAME.json``: the facts of this run, then ``result``."""
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**facts(), **result}, indent=1) + "\n")
    return path


def _short(word: str) -> str:
    path = Path(word)
    if path.is_absolute():
        return path.name
    return word


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
