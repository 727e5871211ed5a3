"""Every published tensor has one place in our networks, and goes there whole."""

import json
import re

import pytest
import torch

from ecgtwin.models.base_extractor import BaseExtractor
from ecgtwin.models.build import build_denoiser, build_vae
from ecgtwin.models.published.classifier import DiagnosisClassifier
from ecgtwin.models.published.clip import EcgTextClip
from ecgtwin.spec.presets import preset
from ecgtwin.twin import published_keys
from ecgtwin.twin.key_table import KeyTable

NETWORKS = {
    "VAE": (("vae_encoder", "vae_decoder"), lambda: build_vae(preset("paper"))),
    "BASE_EXTRACTOR": (("ibe",), lambda: BaseExtractor(preset("paper"))),
    "DIT": (("dit_ecgtwin",), lambda: build_denoiser(preset("paper"))),
    "UNET": (("unet_ecgtwin",), lambda: build_denoiser(preset("paper-unet"))),
    "CLIP": (("clip",), EcgTextClip),
    "CLASSIFIER": (("classifier",), lambda: DiagnosisClassifier(2)),
}


@pytest.fixture(scope="module")
def published(real_data):
    return json.loads((real_data / "parity" / "state_dicts.json").read_text())


def listed(published, files):
    """Name, shape and type of every published tensor; both halves of the VAE together."""
    return {
        (f"{file.removeprefix('vae_')}." if len(files) > 1 else "") + key: (tuple(shape), kind)
        for file in files
        for key, shape, kind in published[file]
    }


def as_pattern(template):
    return re.escape(template).replace(r"\#", r"\d+").replace(r"\*", "[a-z_]+")


@pytest.mark.parametrize("name", NETWORKS)
def test_all_of_a_network_and_no_more_is_wanted(name, published):
    files, build = NETWORKS[name]
    table, ours = getattr(published_keys, name), build().state_dict()
    wanted = table.wanted(ours)
    found = {
        key: (want.shape, str(want.dtype).removeprefix("torch.")) for key, want in wanted.items()
    }
    assert found == listed(published, files)
    filled = [part for want in wanted.values() for part in want.ours]
    assert sorted([*filled, *table.only_ours]) == sorted(ours)


@pytest.mark.parametrize("name", NETWORKS)
def test_one_row_stands_for_each_published_name(name, published):
    files, _ = NETWORKS[name]
    rows = [theirs for theirs, _ in getattr(published_keys, name).rows]
    used = set()
    for key in listed(published, files):
        hits = [row for row in rows if re.fullmatch(as_pattern(row), key)]
        assert len(hits) == 1, (key, hits)
        used |= set(hits)
    assert used == set(rows), "a row that stands for nothing"


def test_a_tensor_is_cut_in_the_order_of_the_row_and_nothing_is_shared():
    table = KeyTable(
        rows=(("in_#_*", ("#.q.*", "#.kv.*")), ("scale", "scale"), ("count", "count")),
        only_ours=("kept",),
        no_axis=("scale",),
    )
    ours = {
        "7.kv.weight": torch.zeros(4, 3),
        "7.q.weight": torch.zeros(2, 3),
        "scale": torch.zeros(1),
        "count": torch.tensor(0),
        "kept": torch.ones(2),
    }
    wanted = table.wanted(ours)
    assert wanted["in_7_weight"].shape == (6, 3)
    assert wanted["scale"].shape == wanted["count"].shape == ()
    assert wanted["count"].dtype == torch.int64
    given = {
        "in_7_weight": torch.arange(18.0).reshape(6, 3),
        "scale": torch.tensor(2.5),
        "count": torch.tensor(9),
    }
    state = table.filled(ours, given)
    assert torch.equal(state["7.q.weight"], given["in_7_weight"][:2])
    assert torch.equal(state["7.kv.weight"], given["in_7_weight"][2:])
    assert state["scale"].tolist() == [2.5]
    assert state["count"].item() == 9
    assert state["kept"].tolist() == [1, 1]
    given["in_7_weight"].zero_()
    assert state["7.kv.weight"].sum() > 0
    assert ours["7.q.weight"].sum() == 0


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ((("x", "a"),), "b stands in 0 rows"),
        ((("x", "a"), ("y", "b"), ("z", "*")), "a stands in 2 rows"),
        ((("x", "a"), ("x", "b")), "x fills"),
        ((("x", ("a", "c")), ("y", "b")), "c"),
    ],
)
def test_a_table_that_does_not_fit_its_network_is_no_table(rows, reason):
    with pytest.raises(LookupError, match=reason):
        KeyTable(rows=rows).wanted({"a": torch.zeros(1), "b": torch.zeros(1)})
