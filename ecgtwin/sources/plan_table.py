"""The plan of an ingest on disk: every row of the source before its signal is read."""

from dataclasses import dataclass

from ecgtwin.sources.source import PlannedRow, Source, planned_rows
from ecgtwin.spec.ingest import IngestSpec
from ecgtwin.spec.shard import Shard
from ecgtwin.store.blocks import block_name, encode_block, put_block, read_block_rows
from ecgtwin.store.layout import PLAN_COLUMNS, PLAN_TABLE
from ecgtwin.store.objects import join

_BLOCK_ROWS = 2048


@dataclass(frozen=True, slots=True)
class EncodedPlan:
    """The blocks of a plan, each with the digest of its content."""

    blocks: tuple[tuple[bytes, str], ...]

    @property
    def digests(self) -> list[str]:
        """Return the digest of each block's content."""
        return [digest for _, digest in self.blocks]


def rows_per_block(settings: IngestSpec) -> int:
    """Return how many rows a block of the tables has: whole shards, about 2,048 rows."""
    return max(1, _BLOCK_ROWS // settings.rows_per_shard) * settings.rows_per_shard


def encode_plan(source: Source, settings: IngestSpec) -> EncodedPlan:
    """Return the plan of ``source``; the same source gives the same digests."""
    blocks = []
    first = 0
    for columns in source.plan(rows_per_block(settings)):
        count = len(columns["file"])
        numbered = {"row": list(range(first, first + count)), **columns}
        blocks.append(encode_block(numbered, PLAN_COLUMNS))
        first += count
    if first != len(source):
        raise ValueError(f"{source.name} planned {first} rows and says it has {len(source)}")
    return EncodedPlan(tuple(blocks))


def put_plan(url: str, plan: EncodedPlan) -> None:
    """Write the blocks that are not there yet."""
    for index, (data, digest) in enumerate(plan.blocks):
        put_block(join(url, block_name(PLAN_TABLE, index)), data, digest)


def read_planned(url: str, shard: Shard, settings: IngestSpec, *, digest: str) -> list[PlannedRow]:
    """Return the planned rows of a shard of the corpus ``digest``.

    DamageError when the plan cannot be read.
    """
    size = rows_per_block(settings)
    index, offset = divmod(shard.start, size)
    target = join(url, block_name(PLAN_TABLE, index))
    stop = offset + len(shard)
    columns = read_block_rows(target, offset, stop, PLAN_COLUMNS, owner=digest)
    return planned_rows(columns, first=shard.start)
