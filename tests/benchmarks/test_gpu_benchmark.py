"""The GPU benchmark where there is no GPU: it runs, says what it left out, and keeps its time."""

import json
import math
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from benchmarks.device.cases import Cases
from benchmarks.device.precision import precision

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parent.parent.parent
SECTIONS = ("agreement", "peaks", "forward", "training", "draws", "against_reference")
CPU = torch.device("cpu")
# Of the published networks, for one ECG; the denoiser's includes what ours embeds beforehand.
PUBLISHED_GFLOP = {"encoder": 4.89, "decoder": 8.67, "extractor": 0.76, "denoiser": 1.777}
REFUSED = ("ray", "deepspeed", "zarr", "pyarrow", "s3fs", "fsspec", "safetensors", "tqdm", "wfdb")
PROGRAM = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({REFUSED!r}))  # as if they were not installed
sys.argv = ['benchmarks/gpu.py', '--quick', '--device', 'cpu', '--out', sys.argv[1]]
sys.path[0] = 'benchmarks'
runpy.run_path('benchmarks/gpu.py', run_name='__main__')
"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """What it printed and wrote, from a process that has neither Ray nor DeepSpeed nor Zarr."""
    out = tmp_path_factory.mktemp("gpu") / "result.json"
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(out)], capture_output=True, text=True, cwd=ROOT
    )
    assert found.returncode == 0, found.stderr
    return found.stdout, json.loads(out.read_text())


def test_every_section_has_rows_and_every_number_is_finite(ran):
    _, result = ran
    assert all(result[section] for section in SECTIONS)
    assert all(math.isfinite(number) for number in numbers_in(result))
    assert result["failed"] == []


def numbers_in(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for item in value for number in numbers_in(item)]
    return [value] if isinstance(value, float) else []


def test_both_presets_stand_in_every_section(ran):
    _, result = ran
    for section in ("agreement", "forward", "training", "draws"):
        assert {row["preset"] for row in result[section]} == {"paper", "base"}
        assert {row["precision"] for row in result[section]} == {"fp32", "bf16"}
    assert {row["what"] for row in result["forward"]} == PUBLISHED_GFLOP.keys()


def test_the_cpu_agrees_with_itself_exactly_and_with_bf16_nearly(ran):
    _, result = ran
    for row in result["agreement"]:
        assert row["agrees"]
        errors = row["errors"].values()
        assert not any(errors) if row["precision"] == "fp32" else all(errors)


def test_operations_are_those_of_the_published_networks(ran):
    _, result = ran
    counted = result["gflop"]["paper"]
    for network, published in PUBLISHED_GFLOP.items():
        assert counted[network] == pytest.approx(published, rel=0.01)
    assert counted["training step"] == pytest.approx(3 * counted["denoiser"], rel=0.02)


def test_what_was_left_out_is_listed_with_the_reason(ran):
    printed, result = ran
    assert {(row["section"], row["preset"]) for row in result["skipped"]} == {
        ("compiled", "paper"),
        ("compiled", "base"),
    }
    assert all(row["reason"] for row in result["skipped"])
    assert f"Skipped: {len(result['skipped'])} cases" in printed


def test_the_table_fits_in_a_hundred_columns_and_names_no_folder(ran):
    printed, result = ran
    assert max(len(line) for line in printed.splitlines() if "written to" not in line) <= 100
    assert str(ROOT) not in json.dumps(result)


def cases_of(budget_s):
    return Cases({"first": 0.5, "last": 1.0}, started=time.monotonic(), budget_s=budget_s)


def test_a_case_that_would_outlast_its_section_is_skipped_not_begun():
    cases, begun = cases_of(100), []
    assert cases.run("first", {"batch": 8}, lambda: begun.append(8) or {}, expected_s=60) is None
    assert begun == []
    assert cases.run("last", {"batch": 8}, lambda: begun.append(8) or {}, expected_s=60) is not None
    assert begun == [8]
    assert [(row["section"], row["batch"]) for row in cases.skipped] == [("first", 8)]


def test_a_case_is_ended_with_its_section():
    cases, started = cases_of(0.2), time.monotonic()
    assert cases.run("last", {}, lambda: time.sleep(30) or {}) is None
    assert time.monotonic() - started < 10
    assert "begun" in cases.skipped[0]["reason"]


def fails(error):
    raise error


def test_a_case_that_fails_or_finds_no_memory_is_listed_and_the_next_one_runs():
    cases = cases_of(100)
    cases.run("last", {"batch": 1}, lambda: fails(torch.OutOfMemoryError("8 GiB")))
    cases.run("last", {"batch": 2}, lambda: fails(RuntimeError("no kernel\nlong story")))
    cases.run("last", {"batch": 3}, lambda: {"ecg_per_s": 1.0})
    assert [row["reason"] for row in cases.skipped] == ["out of memory"]
    assert [row["error"] for row in cases.failed] == ["RuntimeError: no kernel"]
    assert [row["batch"] for row in cases.rows["last"]] == [3]


@pytest.mark.parametrize("name", ["fp32", "tf32", "bf16"])
def test_a_precision_ends_with_its_block(name):
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    with precision(name, CPU):
        assert torch.is_autocast_enabled("cpu") == (name == "bf16")
        assert torch.backends.cuda.matmul.allow_tf32 == (name == "tf32")
        assert torch.backends.cudnn.allow_tf32 == (name == "tf32")
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before
    assert not torch.is_autocast_enabled("cpu")
