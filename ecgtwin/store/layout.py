"""The on-disk format as a table: names, arrays, codecs, columns, version. Pure: no I/O."""

from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from ecgtwin.errors import SpecificationError
from ecgtwin.signals.leads import LEADS
from ecgtwin.spec.shard import ShardCut, cut_shards
from ecgtwin.spec.storage import STEP_MV as STEP_MV
from ecgtwin.spec.storage import USUAL_CODEC, CodecSpec

FORMAT_VERSION = 1
FILL = -32768  # reserved: no sample
LIMIT = 32767  # quantisation saturates at plus and minus this
MAX_OBJECT_BYTES = 64 * 2**20

SIGNALS = "signals.zarr"
SAMPLES = "samples_mv"

Schema = Literal["corpus", "cohort"]

_TEXTS = pa.list_(pa.string())

PLAN_TABLE = "plan/records"

# What is known of a row before its signal is read: the plan of an ingest.
PLAN_COLUMNS: dict[str, pa.DataType] = {
    "row": pa.int64(),
    "record_id": pa.string(),
    "file": pa.string(),  # inside the source, without suffix
    "patient_id": pa.string(),  # as the source writes it
    "visit": pa.int32(),  # counts the recordings of a patient from 0, by date where there is one
    "days_since_first": pa.float64(),  # since the first recording of the patient
    "window": pa.int32(),  # counts the windows of a recording from 0
    "window_start_s": pa.float64(),
    "official_split": pa.string(),  # of the publisher; None: ours decides
    "age_years": pa.float32(),
    "sex": pa.string(),
    "heart_rate_bpm": pa.float32(),  # as labelled
    "statements": _TEXTS,
    "certainties": _TEXTS,
    "unmapped": _TEXTS,  # what the source says and no statement stands for
    "flags": _TEXTS,  # what is odd about the row and does not forbid its use
    "reason_kind": pa.string(),  # the row is rejected before its signal is read
    "reason": pa.string(),
    "reason_value": pa.string(),
}

CORPUS_COLUMNS: dict[str, pa.DataType] = {
    "row": pa.int64(),
    "accepted": pa.bool_(),
    "reason_kind": pa.string(),  # why a row is not accepted, as one word,
    "reason": pa.string(),  # as a sentence,
    "reason_value": pa.string(),  # and what was found
    "record_id": pa.string(),
    "source": pa.string(),
    "patient_id": pa.string(),
    "person_id": pa.string(),  # source:patient_id of the first source that the person came from
    "recording_id": pa.string(),  # source:record_id of the first source that it came from
    "visit": pa.int32(),
    "days_since_first": pa.float64(),
    "window": pa.int32(),
    "window_start_s": pa.float64(),
    "source_rate_hz": pa.float32(),
    "official_split": pa.string(),
    "split": pa.string(),
    "age_years": pa.float32(),
    "sex": pa.string(),
    "heart_rate_bpm": pa.float32(),  # as labelled, or else as measured
    "statements": _TEXTS,
    "certainties": _TEXTS,
    "unmapped": _TEXTS,
    "flags": _TEXTS,
    "num_beats": pa.int32(),
    "measured_heart_rate_bpm": pa.float32(),
    "rr_sd_ms": pa.float32(),
    "pr_ms": pa.float32(),
    "qrs_ms": pa.float32(),
    "qt_ms": pa.float32(),
    "qtc_fridericia_ms": pa.float32(),
    "qtc_bazett_ms": pa.float32(),
    "qrs_axis_deg": pa.float32(),
    "r_amplitude_mv": pa.float32(),
    "fingerprint": pa.string(),  # hex; None for rejected rows
    "saturated": pa.int32(),  # samples cut at +-LIMIT
}

# The corpus columns that say the state of a recording; the others say what the recording is.
CONDITION_COLUMNS = (
    "row", "age_years", "sex", "heart_rate_bpm", "statements", "certainties", "unmapped",
)  # fmt: skip

COHORT_COLUMNS: dict[str, pa.DataType] = {
    "row": pa.int64(),
    "person": pa.string(),
    "patient_index": pa.int32(),
    "condition_index": pa.int32(),
    "replicate": pa.int32(),
    "attempt": pa.int32(),
    "accepted": pa.bool_(),
    "gate_failures": _TEXTS,
    "statements": _TEXTS,
    "certainties": _TEXTS,
    "heart_rate_bpm": pa.float32(),  # as requested
    "age_years": pa.float32(),
    "sex": pa.string(),
    "split": pa.string(),
    "measured_heart_rate_bpm": pa.float32(),
    "rr_sd_ms": pa.float32(),
    "qrs_ms": pa.float32(),
    "pr_ms": pa.float32(),
    "qt_ms": pa.float32(),
    "limb_residual_mv": pa.float32(),
    "saturated": pa.int32(),
}

COLUMNS: dict[Schema, dict[str, pa.DataType]] = {
    "corpus": CORPUS_COLUMNS,
    "cohort": COHORT_COLUMNS,
}

# Only these may hold None; a manifest never hides a missing row, person or decision.
NULLABLE = frozenset(
    {
        "reason_kind", "reason", "reason_value", "days_since_first", "source_rate_hz",
        "official_split", "age_years", "heart_rate_bpm", "num_beats", "measured_heart_rate_bpm",
        "rr_sd_ms", "qrs_ms", "pr_ms", "qt_ms", "qtc_fridericia_ms", "qtc_bazett_ms",
        "qrs_axis_deg", "r_amplitude_mv", "fingerprint",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class SignalLayout:
    """The shape of ``samples_mv``, its cut and its encoding.

    One Zarr shard = one object = one unit of work. A stored int16 is ``step_mv`` mV.
    """

    num_rows: int
    num_samples: int
    sampling_rate_hz: float
    rows_per_shard: int
    rows_per_chunk: int
    step_mv: float = STEP_MV
    codec: CodecSpec = USUAL_CODEC

    def __post_init__(self) -> None:
        if min(self.num_rows, self.num_samples, self.rows_per_shard, self.rows_per_chunk) < 1:
            raise SpecificationError(f"{self}: every count must be at least 1")
        if self.rows_per_shard % self.rows_per_chunk:
            raise SpecificationError(
                f"rows_per_shard ({self.rows_per_shard}) must be a multiple of "
                f"rows_per_chunk ({self.rows_per_chunk})"
            )
        if self.largest_object_bytes > MAX_OBJECT_BYTES:
            chunk_bytes = -(-self.largest_object_bytes * self.rows_per_chunk // self.rows_per_shard)
            allowed = MAX_OBJECT_BYTES // chunk_bytes * self.rows_per_chunk
            raise SpecificationError(
                f"rows_per_shard is {self.rows_per_shard}: with {self.num_samples} samples an "
                f"object could exceed 64 MiB; use at most {allowed} rows"
            )

    @property
    def largest_object_bytes(self) -> int:
        """The most bytes that a shard's object can take."""
        # per chunk at most 16 bytes of Blosc header, a checksum and 16 bytes in the shard's index
        num_chunks = self.rows_per_shard // self.rows_per_chunk
        return self.raw_bytes(self.rows_per_shard) + num_chunks * 36 + 4

    def raw_bytes(self, num_rows: int) -> int:
        """Return the bytes of ``num_rows`` rows before compression."""
        return num_rows * len(LEADS) * self.num_samples * 2  # int16

    def shards(self) -> ShardCut:
        """Return the shards in row order; the last may be short."""
        return cut_shards(self.num_rows, self.rows_per_shard)

    def array_settings(self, num_rows: int) -> dict[str, Any]:
        """Return zarr's ``create_array`` arguments for ``samples_mv`` with ``num_rows`` rows."""
        from zarr.codecs import BloscCodec, Crc32cCodec

        return {
            "name": SAMPLES,
            "shape": (num_rows, len(LEADS), self.num_samples),
            "dtype": "int16",
            "chunks": (self.rows_per_chunk, len(LEADS), self.num_samples),
            "shards": (self.rows_per_shard, len(LEADS), self.num_samples),
            "fill_value": FILL,
            "compressors": [
                BloscCodec(
                    cname=self.codec.name,
                    clevel=self.codec.level,
                    shuffle=self.codec.shuffle,
                    typesize=2,
                ),
                Crc32cCodec(),
            ],
            "dimension_names": ("sample", "lead", "time"),
            "attributes": {
                "units": "mV",
                "scale_factor": self.step_mv,
                "add_offset": 0.0,
                "_FillValue": FILL,
            },
            # A shard of nothing but rejected rows still is an object: the commit names one.
            "config": {"write_empty_chunks": True},
        }


def object_name(index: int) -> str:
    """Return where, inside the cohort or corpus, the object of shard ``index`` is."""
    return f"{SIGNALS}/{SAMPLES}/c/{index}/0/0"


def manifest_name(index: int) -> str:
    """Return where the manifest of shard ``index`` is."""
    return f"manifest/{shard_name(index)}.parquet"


def ledger_name(index: int) -> str:
    """Return where the ledger part of shard ``index`` is, if it has one."""
    return f"ledger/{shard_name(index)}.jsonl"


def shard_name(index: int) -> str:
    """Return the name that a shard's files share."""
    return f"shard-{index:09d}"
