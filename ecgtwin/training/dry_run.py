"""What ``ecgtwin train --dry-run`` prints: a training's size, memory and time, before it begins."""

import textwrap
from collections.abc import Callable, Sequence

import torch

from ecgtwin.store.objects import join
from ecgtwin.training.forecast import Forecast, Pace, forecast_of
from ecgtwin.training.loop import check_provenance
from ecgtwin.training.memory import FULL, HALF
from ecgtwin.training.origins import outline_of
from ecgtwin.training.rows import TrainingRows
from ecgtwin.training.run import TrainingJob, check_training
from ecgtwin.training.stages import check_rows, recipe_facts
from ecgtwin.training.state import latest_checkpoint, read_facts
from ecgtwin.twin.twin import EcgTwin

WIDTH = 100
_TITLES = {"vae": "VAE", "base_extractor": "base extractor", "denoiser": "denoiser"}

Row = tuple[str, list[str]]


def describe_training(job: TrainingJob, *, world_size: int) -> str:
    """Return what a training of ``job`` on ``world_size`` ranks would be, for people to read.

    It times a few passes on this machine's device and writes nothing. The errors are those that
    the training would begin with.
    """
    twin, corpora = check_training(job, world_size=world_size)
    rows = outline_of(corpora, "train")
    check_rows(rows, job.recipe.pairs, job.stages)
    num_held_out = sum(len(corpus.outline("validation")) for corpus in corpora)
    digests = " ".join(corpus.digest for corpus in corpora)
    done = {name: _steps_done(job, name, digests) for name in job.stages}
    found = {
        name: forecast_of(name, job.recipe, twin, rows, engine=job.engine, world_size=world_size)
        for name in job.stages
    }
    table = _aligned([*_work_rows(found, done, rows), *_memory_rows(found), *_kept_rows(found)])
    heading = _heading(job, twin, rows, num_held_out, world_size)
    notes = _notes(job, twin, found, done, rows, world_size)
    return "\n".join([*heading, "", *table, "", *notes])


def _heading(
    job: TrainingJob, twin: EcgTwin, rows: TrainingRows, num_held_out: int, world_size: int
) -> list[str]:
    num_paired = rows.num_paired(job.recipe.pairs)
    counts = (
        f"{len(rows):,} training rows of {len(set(rows.persons)):,} persons, {num_paired:,} of "
        f"them with a pair; {num_held_out:,} validation rows"
    )
    numbers = sum(tensor.numel() for tensor in twin.state_dict().values())
    of_number = HALF if job.half_precision_file else FULL
    ranks = "1 rank" if world_size == 1 else f"{world_size} ranks"
    begins = f"goes on from {job.start_from}" if job.start_from else "begins untrained"
    return [
        f"preset {job.recipe.preset}, {begins}; {ranks}, engine {job.engine}",
        f"corpora  {', '.join(job.corpora)}",
        f"         {counts}",
        f"folder   {job.folder}: log, panels, TensorBoard",
        f"         checkpoints of the training in {job.checkpoints or job.folder}",
        f"twin     {job.out}, {_bytes(of_number * numbers)}",
    ]


def _work_rows(found: dict[str, Forecast], done: dict[str, int], rows: TrainingRows) -> list[Row]:
    def row(label: str, say: Callable[[str, Forecast], str]) -> Row:
        return label, [say(name, forecast) for name, forecast in found.items()]

    def samples(forecast: Forecast) -> int:
        return forecast.spec.num_steps * forecast.spec.batch_size

    listed = [
        ("", [_TITLES[name] for name in found]),
        row("parameters", lambda _, one: _count(one.num_parameters)),
        row("steps", lambda _, one: f"{one.spec.num_steps:,}"),
        row("samples a step", lambda _, one: f"{one.spec.batch_size:,}"),
        row("  on a rank", lambda _, one: f"{one.num_parts} x {one.micro_batch}"),
        row("samples", lambda _, one: _count(samples(one))),
        row("epochs", lambda _, one: f"{samples(one) * one.recordings / len(rows):,.1f}"),
        row(
            "latent frames",
            lambda _, one: _count(samples(one) * one.recordings * one.frames),
        ),
        row("condition tokens", lambda _, one: _count(samples(one) * one.condition_tokens)),
        row("FLOP a sample", lambda _, one: _count(one.flops)),
        row("FLOP in all", lambda _, one: _count(one.flops * samples(one))),
        row("time a step", lambda _, one: _duration(one.step_s)),
        row("time left", lambda name, one: _duration(_left_s(one, done[name]))),
    ]
    if any(done.values()):
        listed.insert(3, row("  done before", lambda name, _: f"{done[name]:,}"))
    return listed


def _memory_rows(found: dict[str, Forecast]) -> list[Row]:
    """Return what a rank holds on its device, then what is offloaded."""
    stages = list(found.values())
    listed: list[Row] = [("", []), ("memory of a rank", [])]
    for name in dict.fromkeys(name for one in stages for name in one.memory.device):
        sizes = [one.memory.device.get(name, 0.0) for one in stages]
        if any(sizes):
            listed.append((f"  {name}", [_bytes(size) for size in sizes]))
    listed.append(("  on its device", [_bytes(one.memory.device_bytes) for one in stages]))
    if any(one.memory.host for one in stages):
        listed.append(("  offloaded", [_bytes(one.memory.host_bytes) for one in stages]))
    return listed


def _kept_rows(found: dict[str, Forecast]) -> list[Row]:
    stages = list(found.values())
    return [
        ("", []),
        ("a checkpoint", [_bytes(one.checkpoint) for one in stages]),
        (
            "  kept at once",
            [_bytes(one.checkpoint * one.spec.keep_checkpoints) for one in stages],
        ),
    ]


def _notes(
    job: TrainingJob,
    twin: EcgTwin,
    found: dict[str, Forecast],
    done: dict[str, int],
    rows: TrainingRows,
    world_size: int,
) -> list[str]:
    left = [_left_s(one, done[name]) for name, one in found.items()]
    known = [seconds for seconds in left if seconds is not None]
    whole = "Time in all: " + (_duration(sum(known)) if len(known) == len(left) else "not known")
    if job.minutes is not None:
        whole += f"; --minutes ends it after about {job.minutes:g} min"
    samples = FULL * len(rows) * len(twin.spec.vae.lead_order) * twin.num_samples
    notes = [
        whole + ".",
        *(_timed(name, one) for name, one in found.items()),
        "Not in the times: checkpoints, validation and panels"
        + (", ranks that wait for one another" if world_size > 1 else "")
        + (", offloading" if any(one.memory.host for one in found.values()) else "")
        + ".",
        "Activations are estimated: what a pass of one micro-batch keeps for the backward pass, "
        "reckoned from one and two rows on the CPU.",
        *(
            "The denoiser's blocks are computed again in the backward pass: it keeps less than is "
            "told here, and takes up to a third longer."
            for name, one in found.items()
            if name == "denoiser" and one.spec.activation_checkpointing
        ),
        f"Each rank also holds the recordings themselves in main memory: {_bytes(samples)}.",
    ]
    return [line for note in notes for line in textwrap.wrap(note, WIDTH)]


def _timed(name: str, forecast: Forecast) -> str:
    pace, title = forecast.pace, _TITLES[name]
    if not isinstance(pace, Pace):
        return f"{title}: no time is given, {pace}."
    cuda = pace.device.type == "cuda"
    device = torch.cuda.get_device_name(pace.device) if cuda else "this CPU"
    if pace.num_rows == forecast.micro_batch:
        return f"{title}: timed on {device} with a whole micro-batch."
    return f"{title}: timed on {device} with {pace.num_rows} of {forecast.micro_batch} rows."


def _left_s(forecast: Forecast, done: int) -> float | None:
    left = max(forecast.spec.num_steps - done, 0)
    return None if forecast.step_s is None else left * forecast.step_s


def _steps_done(job: TrainingJob, name: str, corpora: str) -> int:
    """Return the step that a training in the same folder would go on from.

    CheckpointError where it would not, as another recipe or corpus was trained there.
    """
    url = latest_checkpoint(join(job.checkpoints or str(job.folder), name))
    if url is None:
        return 0
    step, stored = read_facts(url)
    spec = getattr(job.recipe, name).training
    check_provenance(url, stored, {"corpus": corpora, **recipe_facts(name, spec, job.recipe)})
    return step


def _aligned(rows: Sequence[Row]) -> list[str]:
    """Return the rows as lines: labels to the left, values to the right of their column."""
    label_width = max(len(label) for label, _ in rows)
    num_columns = max(len(values) for _, values in rows)
    widths = [
        max(len(values[column]) for _, values in rows if values) for column in range(num_columns)
    ]
    lines = []
    for label, values in rows:
        cells = [value.rjust(width) for value, width in zip(values, widths, strict=False)]
        lines.append("   ".join([label.ljust(label_width), *cells]).rstrip())
    return lines


def _count(number: float) -> str:
    for unit, name in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M")):
        if number >= unit:
            return f"{number / unit:.3g} {name}"
    return f"{number:,.0f}" if number else "-"


def _bytes(size: float) -> str:
    for unit, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB")):
        if size >= unit:
            return f"{size / unit:,.1f} {name}"
    return f"{size / 2**10:,.1f} KiB" if size else "-"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "not known"
    for unit, name in ((86400.0, "days"), (3600.0, "h"), (60.0, "min")):
        if seconds >= 2 * unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.2g} s"
