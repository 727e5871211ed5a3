"""Steps and codecs other than the usual: what is written comes back, whoever reads it."""

import json
from pathlib import Path

import numpy as np
import pytest
import xarray

from ecgtwin.errors import CohortMismatchError, StoreError
from ecgtwin.signals.leads import LEADS
from ecgtwin.spec.storage import STEPS_MV, USUAL_CODEC, CodecSpec
from ecgtwin.store.layout import SignalLayout
from ecgtwin.store.reader import Corpus
from ecgtwin.store.shard_rows import read_accepted
from ecgtwin.store.torch_dataset import EcgDataset
from ecgtwin.store.verify import verify
from ecgtwin.store.writer import create_signals, quantise, write_shard
from ecgtwin.store.zarr_shards import encode_metadata, encode_shard, read_layout
from tests.store.shards import LAYOUT, REJECTED, corpus_columns, samples_of, tree

DIRECT = [LEADS.index(lead) for lead in ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")]
CODECS = [
    CodecSpec(name="lz4"),
    CodecSpec(name="zlib", level=9, shuffle="shuffle"),
    CodecSpec(name="blosclz", level=1, shuffle="noshuffle"),
    CodecSpec(level=0),
    CodecSpec(level=9, shuffle="noshuffle"),
]


def layout_of(step_mv: float = 0.005, codec: CodecSpec = USUAL_CODEC) -> SignalLayout:
    shape = (LAYOUT.num_rows, LAYOUT.num_samples, LAYOUT.sampling_rate_hz)
    return SignalLayout(*shape, LAYOUT.rows_per_shard, LAYOUT.rows_per_chunk, step_mv, codec)


def written(url: str, layout: SignalLayout) -> str:
    create_signals(url, layout)
    samples = samples_of(layout)
    for shard in layout.shards():
        part = samples[shard.start : shard.stop]
        columns = corpus_columns(shard)
        write_shard(url, layout, shard, part, columns, schema="corpus", plan_digest="a plan")
    return url


@pytest.mark.parametrize("step_mv", STEPS_MV)
def test_a_stored_value_is_within_half_a_step_for_every_reader(
    tmp_path: Path, step_mv: float
) -> None:
    url = written(str(tmp_path), layout_of(step_mv))
    corpus, asked = Corpus(url), samples_of(LAYOUT)
    found = corpus.samples_mv(np.arange(len(corpus)))
    error = np.abs(found.astype(np.float64) - asked[corpus.rows])[:, DIRECT]
    assert 0.4 * step_mv < error.max() <= step_mv / 2 + 1e-6
    by_row = dict(zip(corpus.rows.tolist(), found, strict=True))
    for item in EcgDataset(corpus, seed=0, batch_size=4):
        np.testing.assert_array_equal(item["samples_mv"], by_row[item["row"]])
    rows, _, samples_mv = read_accepted(url, LAYOUT.shards()[1])
    np.testing.assert_array_equal(samples_mv, [by_row[row] for row in rows.tolist()])
    with xarray.open_zarr(f"{url}/signals.zarr", consolidated=False, chunks=None) as data:
        seen = data["samples_mv"].values
    np.testing.assert_allclose(seen[corpus.rows], found, atol=1e-6)
    assert np.isnan(seen[REJECTED]).all()


@pytest.mark.parametrize("step_mv", STEPS_MV)
def test_limb_leads_hold_in_integers_at_every_step(step_mv: float) -> None:
    samples = np.random.default_rng(3).normal(0, 2, (4, 12, 50)).astype(np.float32)
    stored, saturated = quantise(samples, step_mv=step_mv)
    one, two, three, avr, avl, avf = stored[:, :6].astype(np.int64).swapaxes(0, 1)
    np.testing.assert_array_equal(one, np.rint(samples[:, 0].astype(np.float64) / step_mv))
    np.testing.assert_array_equal(three, two - one)
    for double, lead in ((-one - two, avr), (2 * one - two, avl), (2 * two - one, avf)):
        assert np.abs(2 * lead - double).max() <= 1
    assert not saturated.any()


@pytest.mark.parametrize("step_mv", STEPS_MV)
def test_halves_go_to_even_and_the_limit_is_in_steps(step_mv: float) -> None:
    samples = np.zeros((1, 12, 6))
    samples[0, 6] = np.array([0.5, 1.5, 2.5, -0.5, 32767.4, 32768]) * step_mv
    stored, saturated = quantise(samples, step_mv=step_mv)
    assert stored[0, 6].tolist() == [0, 2, 2, 0, 32767, 32767]
    assert saturated.tolist() == [1]


@pytest.mark.parametrize("codec", CODECS, ids=str)
def test_samples_do_not_depend_on_the_codec(tmp_path: Path, codec: CodecSpec) -> None:
    usual, other = (
        Corpus(written(str(tmp_path / name), layout_of(codec=one)))
        for name, one in (("usual", USUAL_CODEC), ("other", codec))
    )
    rows = np.arange(len(usual))
    np.testing.assert_array_equal(other.samples_mv(rows), usual.samples_mv(rows))
    assert verify(other.url) == []
    names = [tree(tmp_path / name) for name in ("usual", "other")]
    assert names[0].keys() == names[1].keys()
    changed = "signals.zarr/samples_mv/c/0/0/0"
    assert names[0][changed] != names[1][changed]


@pytest.mark.parametrize("codec", CODECS, ids=str)
def test_no_codec_makes_more_than_the_largest_object(codec: CodecSpec) -> None:
    layout = SignalLayout(64, 256, 102.4, 32, 1, codec=codec)
    noise = np.random.default_rng(0).integers(-30000, 30000, (32, 12, 256)).astype(np.int16)
    data = encode_shard(layout, noise)
    assert len(data) <= layout.largest_object_bytes
    assert data == encode_shard(layout, noise)


@pytest.mark.parametrize(
    "layout", [layout_of(0.01), layout_of(codec=CODECS[0]), layout_of(0.001, CODECS[1])], ids=str
)
def test_another_step_or_codec_is_read_back_and_is_another_layout(
    tmp_path: Path, layout: SignalLayout
) -> None:
    url = str(tmp_path)
    create_signals(url, layout)
    assert read_layout(url) == layout
    create_signals(url, layout)
    before = tree(tmp_path)
    with pytest.raises(CohortMismatchError, match="choose another URL"):
        create_signals(url, LAYOUT)
    assert tree(tmp_path) == before


def test_the_usual_layout_is_written_as_ever() -> None:
    metadata = dict(encode_metadata(LAYOUT))
    array = json.loads(metadata["samples_mv/zarr.json"])
    assert array["data_type"] == "int16"
    assert array["attributes"] == {
        "units": "mV",
        "scale_factor": 0.005,
        "add_offset": 0.0,
        "_FillValue": -32768,
    }
    _, blosc, checksum = array["codecs"][0]["configuration"]["codecs"]
    assert blosc["configuration"] == {
        "typesize": 2,
        "cname": "zstd",
        "clevel": 3,
        "shuffle": "bitshuffle",
        "blocksize": 0,
    }
    assert checksum["name"] == "crc32c"


def test_chunks_that_another_codec_compressed_are_named(tmp_path: Path) -> None:
    create_signals(str(tmp_path), LAYOUT)
    name = tmp_path / "signals.zarr" / "samples_mv" / "zarr.json"
    name.write_text(name.read_text().replace('"zstd"', '"lz4hc"'))
    with pytest.raises(StoreError, match=r"zarr\.json: chunks are compressed as .*lz4hc"):
        read_layout(str(tmp_path))
