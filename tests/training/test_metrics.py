import io
import json
import subprocess
import sys

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ecgtwin.training.metrics import JsonLines, TensorBoard, tee

START = {"stage": "vae", "step": 0, "num_steps": 9, "peak_flops": 1e12}


def lines_of(steps, *, sign=1.0):
    return [
        {"stage": "vae", "step": step, "loss": sign / step, "learning_rate": None, "mfu": 0.25}
        for step in steps
    ]


def read_back(folder, tag):
    found = EventAccumulator(str(folder)).Reload()
    return [(event.step, event.value) for event in found.Scalars(tag)]


def test_event_files_hold_the_numbers_of_the_json_lines(tmp_path):
    report = tee(JsonLines(tmp_path / "log.jsonl"), TensorBoard(tmp_path / "tensorboard"))
    judged = {"stage": "vae", "step": 2, "average": "ema_0.9", "validation": {"criterion": 0.5}}
    skipped = {"stage": "vae", "step": 3, "skipped": "the loss or a gradient is not finite"}
    for line in [START, *lines_of([1, 2]), judged, skipped, {"damaged_checkpoint": "x"}]:
        report(line)
    kept = [json.loads(text) for text in (tmp_path / "log.jsonl").read_text().splitlines()]
    folder = tmp_path / "tensorboard" / "vae"
    wanted = [(line["step"], pytest.approx(line["loss"])) for line in kept if "loss" in line]
    assert read_back(folder, "loss") == wanted
    assert read_back(folder, "mfu") == [(1, 0.25), (2, 0.25)]
    assert read_back(folder, "validation/criterion/ema_0.9") == [(2, 0.5)]
    tags = EventAccumulator(str(folder)).Reload().Tags()["scalars"]
    assert sorted(tags) == ["loss", "mfu", "validation/criterion/ema_0.9"]


def test_a_resumed_run_replaces_what_came_after_its_checkpoint(tmp_path):
    """The first process logged up to step 5; its newest checkpoint was of step 3."""
    for start, steps, sign in ((0, range(1, 6), 1.0), (3, range(4, 7), -1.0)):
        board = TensorBoard(tmp_path)
        for line in [{**START, "step": start}, *lines_of(steps, sign=sign)]:
            board(line)
    wanted = [(1, 1.0), (2, 0.5), (3, 1 / 3), (4, -1 / 4), (5, -1 / 5), (6, -1 / 6)]
    assert read_back(tmp_path / "vae", "loss") == [(s, pytest.approx(v)) for s, v in wanted]


def test_a_stage_that_has_nothing_left_to_do_leaves_no_file(tmp_path):
    TensorBoard(tmp_path)({**START, "step": 9})
    assert not list(tmp_path.iterdir())


def test_an_image_is_read_back_as_it_was_written(tmp_path):
    picture = io.BytesIO()
    Image.new("RGB", (2, 3)).save(picture, "PNG")
    TensorBoard(tmp_path).image("vae", 7, picture.getvalue())
    found = EventAccumulator(str(tmp_path / "vae")).Reload().Images("panel")
    (image,) = found
    assert (image.step, image.width, image.height) == (7, 2, 3)
    assert image.encoded_image_string == picture.getvalue()


def test_without_tensorboard_there_is_none():
    code = """
import sys
sys.modules["tensorboard"] = None
from ecgtwin.training.metrics import tensorboard_of
assert tensorboard_of("nowhere") is None
"""
    subprocess.run([sys.executable, "-c", code], check=True)
