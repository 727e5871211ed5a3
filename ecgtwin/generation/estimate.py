"""What a plan takes: objects, bytes, requests, device-hours, money, by measured rates."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ecgtwin.generation.plan import CohortPlan
from ecgtwin.spec.rates import Prices, Rate, StoredForm
from ecgtwin.spec.sampling import SamplingSpec
from ecgtwin.store.layout import SignalLayout
from ecgtwin.store.zarr_shards import encode_metadata

# Beside signals and manifests: references, patients, conditions, cohort.json, numerics.json.
NUM_TABLES = 5
SHARDS_PER_RECORD = 32  # of a run, under runs/


@dataclass(frozen=True, slots=True)
class KnownRate:
    """A rate for the work at hand; ``taken_from`` says how it was reckoned, if not measured."""

    ecgs_per_second: float
    rate: Rate
    taken_from: tuple[str, ...]

    @property
    def is_measured(self) -> bool:
        """Say whether the very same work was measured."""
        return not self.taken_from


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a cohort takes. None: not known without a measured rate, or a price."""

    num_ecgs: int
    num_shards: int
    num_objects: int
    num_puts: int
    raw_bytes: int
    stored_bytes: int | None
    device_hours: float | None
    wall_hours: float | None
    costs: dict[str, float]  # by what is paid for


def reckon_rate(
    rates: Sequence[Rate],
    *,
    checkpoint: str,
    sampling: SamplingSpec,
    batch_rows: int,
    stored: StoredForm,
    device_kind: str,
) -> KnownRate | None:
    """Return the nearest of ``rates`` of a checkpoint on a kind of device, None without one.

    It is scaled to the work at hand: time is taken to be in proportion to the passes of the
    network, and to depend neither on the rows of a batch nor on how ECGs are stored.
    """
    of_kind = [one for one in rates if one.device_kind == device_kind]
    mine = [one for one in of_kind if one.checkpoint == checkpoint]
    if not mine:
        return None
    nearest = min(
        mine,
        key=lambda one: (
            one.sampling != sampling,
            one.stored != stored,
            abs(math.log(one.batch_rows / batch_rows)),
            abs(math.log(one.sampling.passes / sampling.passes)),
        ),
    )
    taken_from = []
    passes = sampling.passes / nearest.sampling.passes
    if nearest.sampling != sampling:
        taken_from.append(
            f"measured with {nearest.sampling.passes:g} passes an ECG, asked for are "
            f"{sampling.passes:g}"
        )
    if nearest.batch_rows != batch_rows:
        taken_from.append(f"measured {nearest.batch_rows} at a time, drawn are {batch_rows}")
    if nearest.stored != stored:
        taken_from.append("measured with another rate, step, codec or chunk of the stored samples")
    return KnownRate(nearest.ecgs_per_second / passes, nearest, tuple(taken_from))


def estimate(
    plan: CohortPlan,
    layout: SignalLayout,
    *,
    rate: KnownRate | None,
    num_devices: int = 1,
    device_kind: str = "",
    stored_share: float | None = None,
    prices: Prices | None = None,
) -> Estimate:
    """Return what ``plan`` takes on ``num_devices``, each with one worker.

    ``stored_share`` is of the raw bytes, as measured. Wall time counts
    whole shards: the last ones keep few devices busy. Starting workers is not counted.
    """
    num_ecgs, num_shards = plan.num_rows, plan.num_shards
    raw_bytes = layout.raw_bytes(num_ecgs)
    stored_bytes = None if stored_share is None else round(raw_bytes * stored_share)
    device_hours = wall_hours = None
    if rate is not None:
        device_hours = num_ecgs / rate.ecgs_per_second / 3600
        rounds = -(-num_shards // num_devices)
        longest = min(rounds * layout.rows_per_shard, num_ecgs)
        wall_hours = longest / rate.ecgs_per_second / 3600
    num_objects = 2 * num_shards + NUM_TABLES + len(encode_metadata(layout))
    num_puts = num_objects + -(-num_shards // SHARDS_PER_RECORD)
    return Estimate(
        num_ecgs,
        num_shards,
        num_objects,
        num_puts,
        raw_bytes,
        stored_bytes,
        device_hours,
        wall_hours,
        _costs(prices, device_kind, device_hours, num_puts, stored_bytes),
    )


def _costs(
    prices: Prices | None,
    device_kind: str,
    device_hours: float | None,
    num_puts: int,
    stored_bytes: int | None,
) -> dict[str, float]:
    if prices is None:
        return {}
    costs = {}
    per_hour = prices.device_hour.get(device_kind)
    if per_hour is not None and device_hours is not None:
        costs["devices"] = device_hours * per_hour
    if prices.put_per_1000 is not None:
        costs["requests"] = num_puts / 1000 * prices.put_per_1000
    if prices.storage_gb_month is not None and stored_bytes is not None:
        costs["storage, a month"] = stored_bytes / 1e9 * prices.storage_gb_month
    return costs
