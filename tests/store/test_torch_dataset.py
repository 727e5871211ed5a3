"""Order, exactly once, resume: whatever the workers and ranks."""

import itertools

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from ecgtwin.store.layout import SignalLayout
from ecgtwin.store.reader import Corpus
from ecgtwin.store.torch_dataset import EcgDataset, Place, epoch_order
from ecgtwin.store.writer import create_signals, write_shard
from tests.store.shards import REJECTED, corpus_columns, samples_of

LAYOUT = SignalLayout(
    num_rows=210, num_samples=16, sampling_rate_hz=100.0, rows_per_shard=64, rows_per_chunk=4
)
BATCH = 8


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    url = str(tmp_path_factory.mktemp("corpus"))
    write_rows(url)
    return Corpus(url)


def write_rows(url: str) -> None:
    create_signals(url, LAYOUT)
    samples = samples_of(LAYOUT)
    for shard in LAYOUT.shards():
        write_shard(
            url,
            LAYOUT,
            shard,
            samples[shard.start : shard.stop],
            corpus_columns(shard),
            schema="corpus",
            plan_digest="a plan",
        )


def batches_of(dataset: EcgDataset, num_workers: int = 0) -> list[list[int]]:
    context = "spawn" if num_workers else None
    loader = DataLoader(
        dataset, batch_size=BATCH, num_workers=num_workers, multiprocessing_context=context
    )
    return [batch["row"].tolist() for batch in loader]


def flat(batches: list[list[int]]) -> list[int]:
    return list(itertools.chain.from_iterable(batches))


def test_each_accepted_row_comes_once(corpus):
    rows = flat(batches_of(EcgDataset(corpus, seed=1, batch_size=BATCH)))
    assert sorted(rows) == [row for row in range(LAYOUT.num_rows) if row != REJECTED]


def test_order_depends_on_seed_and_epoch_alone(corpus):
    def order(seed: int, epoch: int) -> list[int]:
        return flat(batches_of(EcgDataset(corpus, seed=seed, batch_size=BATCH, place=Place(epoch))))

    assert order(1, 0) == order(1, 0)
    assert len({tuple(order(seed, epoch)) for seed, epoch in [(1, 0), (1, 1), (2, 0)]}) == 3


@pytest.mark.parametrize("world_size", [2, 3, 5])
def test_ranks_share_the_order_block_by_block(corpus, world_size):
    alone = batches_of(EcgDataset(corpus, seed=1, batch_size=BATCH))
    ranks = [
        EcgDataset(corpus, seed=1, batch_size=BATCH, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    steps = itertools.zip_longest(*map(batches_of, ranks))
    assert [batch for step in steps for batch in step if batch is not None] == alone
    assert sum(map(len, ranks)) == len(corpus)


@pytest.mark.parametrize(("position", "world_size"), [(8, 1), (64, 1), (48, 3), (208, 1)])
def test_resuming_gives_the_uninterrupted_tail(corpus, position, world_size):
    def rank_batches(place: Place) -> list[list[list[int]]]:
        return [
            batches_of(
                EcgDataset(
                    corpus, seed=4, batch_size=BATCH, place=place, rank=rank, world_size=world_size
                )
            )
            for rank in range(world_size)
        ]

    done = position // (BATCH * world_size)
    whole = rank_batches(Place(epoch=2))
    assert rank_batches(Place(2, position)) == [batches[done:] for batches in whole]


def test_workers_change_nothing_even_when_resuming(corpus):
    whole = batches_of(EcgDataset(corpus, seed=4, batch_size=BATCH))
    resumed = EcgDataset(corpus, seed=4, batch_size=BATCH, place=Place(0, 3 * BATCH))
    assert batches_of(resumed, num_workers=2) == whole[3:]


def test_rows_carry_their_own_samples_and_columns(corpus):
    dataset = EcgDataset(
        corpus, seed=0, batch_size=BATCH, columns=("heart_rate_bpm", "sex", "reason")
    )
    position_of = {row: position for position, row in enumerate(corpus.rows.tolist())}
    for item in dataset:
        expected = corpus.samples_mv([position_of[item["row"]]])[0]
        assert item["samples_mv"].dtype == torch.float32
        np.testing.assert_array_equal(item["samples_mv"].numpy(), expected)
        if item["row"] == 2:
            assert np.isnan(item["heart_rate_bpm"])
        else:
            assert item["heart_rate_bpm"] == 60 + item["row"]
        assert (item["sex"], item["reason"]) == ("female", "")


def test_a_split_is_read_alone(corpus):
    dataset = EcgDataset(corpus, seed=0, batch_size=BATCH, split="validation")
    assert sorted(flat(batches_of(dataset))) == list(range(0, LAYOUT.num_rows, 4))


def test_a_position_inside_a_block_is_refused(corpus):
    with pytest.raises(ValueError, match="multiple of batch_size 8"):
        EcgDataset(corpus, seed=0, batch_size=BATCH, place=Place(0, 3))


def test_consumers_share_hardly_a_chunk():
    chunks = np.repeat(np.arange(1024), 16)
    order = epoch_order(chunks, seed=3, epoch=0, block_rows=32)
    assert sorted(order.tolist()) == list(range(len(chunks)))
    blocks = chunks[order].reshape(-1, 32)
    read = [len(np.unique(blocks[consumer::4])) for consumer in range(4)]
    assert sum(read) <= 1024 * 1.02


def test_neighbours_in_the_order_are_not_neighbours_in_the_store():
    chunks = np.repeat(np.arange(256), 16)
    order = epoch_order(chunks, seed=3, epoch=0, block_rows=32)
    blocks = chunks[order].reshape(-1, 32)
    assert np.mean([len(np.unique(block)) for block in blocks]) > 6


def test_the_order_never_changes():
    order = epoch_order(np.arange(12) // 2, seed=5, epoch=1, block_rows=4)
    assert order.tolist() == [5, 0, 10, 11, 8, 6, 4, 1, 7, 3, 2, 9]
