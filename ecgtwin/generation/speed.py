"""The speed of light of a run: ECGs a second against what its devices can sample."""

from dataclasses import dataclass, field

from ecgtwin.executors.protocol import Outcome
from ecgtwin.generation.making import ShardResult


@dataclass(slots=True)
class Speed:
    """What the shards of a run took, summed up as they end.

    ``seconds`` is of wall time since the run began, ``parts`` are seconds at work in each part, of
    all workers. An ECG that was drawn three times counts as three drawn.
    """

    seconds: float = 0.0
    num_ecgs: int = 0
    num_drawn: int = 0
    num_accepted: int = 0
    num_shards: int = 0
    parts: dict[str, float] = field(default_factory=dict)
    workers: set[str] = field(default_factory=set)

    def add(self, outcome: Outcome, *, seconds: float) -> None:
        """Count one outcome, ``seconds`` after the run began."""
        self.seconds = seconds
        result = outcome.result
        if not isinstance(result, ShardResult):
            return
        self.workers.add(outcome.worker)
        self.num_shards += 1
        self.num_ecgs += result.num_rows
        self.num_drawn += result.num_drawn
        self.num_accepted += result.num_accepted
        for name, spent in (
            ("sampling", result.sampling_s),
            ("decoding", result.decoding_s),
            ("gates", result.gating_s),
            ("writing", result.writing_s),
        ):
            self.parts[name] = self.parts.get(name, 0.0) + spent

    @property
    def ecgs_per_second(self) -> float:
        """ECGs made per second of wall time, all workers together, their start included."""
        return self.num_ecgs / self.seconds if self.seconds else 0.0

    @property
    def ceiling_per_worker(self) -> float | None:
        """ECGs drawn per second of sampling by one worker that does nothing else; None: not yet."""
        sampling_s = self.parts.get("sampling", 0.0)
        return self.num_drawn / sampling_s if sampling_s else None

    @property
    def share_of_ceiling(self) -> float | None:
        """ECGs drawn per second, as a share of that: how much of the time workers sampled."""
        ceiling = self.ceiling_per_worker
        if ceiling is None or not self.seconds:
            return None
        return self.num_drawn / self.seconds / (ceiling * len(self.workers))

    def shares(self) -> dict[str, float]:
        """Return what share of the time at work each part took."""
        total = sum(self.parts.values())
        return {name: spent / total for name, spent in self.parts.items()} if total else {}

    def light(self) -> str:
        """Return the rate beside the ceiling, and the shares, for a person; empty: not yet."""
        ceiling, share = self.ceiling_per_worker, self.share_of_ceiling
        if ceiling is None or share is None:
            return ""
        workers = f"{len(self.workers)} x " if len(self.workers) > 1 else ""
        parts = "".join(f", {name} {part:.0%}" for name, part in self.shares().items())
        again = self.num_drawn / self.num_ecgs
        redrawn = f", {again:.2f} draws an ECG" if again > 1 else ""
        return (
            f"{self.ecgs_per_second:.3g} ECG/s{redrawn}; sampling alone {workers}{ceiling:.3g}: "
            f"{share:.0%} of light{parts}"
        )
