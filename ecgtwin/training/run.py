"""One training run from URLs to a checkpoint: what ``ecgtwin train`` does on every rank."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.presets import preset
from ecgtwin.spec.recipe import STAGES, Recipe
from ecgtwin.spec.training import TrainingSpec
from ecgtwin.store.objects import join, object_exists
from ecgtwin.training.engine import Engine, TorchEngine, parts_of
from ecgtwin.training.metrics import JsonLines, Reporter, silent, tee, tensorboard_of
from ecgtwin.training.objectives import check_weighting
from ecgtwin.training.origins import Origin, open_origin, rows_of, text_encoder_for
from ecgtwin.training.panels import DrawPanel, kept_panels
from ecgtwin.training.rows import TrainingRows
from ecgtwin.training.stages import StageInputs, StageResult, parameters_of, train_twin
from ecgtwin.twin.anew import begun_anew
from ecgtwin.twin.checkpoint import untrained_networks
from ecgtwin.twin.encoding import check_fits
from ecgtwin.twin.twin import EcgTwin


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """What to train, from what, and where to put it.

    ``corpora`` are URLs of corpora or packs. ``folder`` (local) keeps logs, and the training
    checkpoints too unless ``checkpoints`` is another folder or URL for them; ``out`` receives the
    twin's checkpoint. ``start_from`` is a twin checkpoint to go on from, None to start from
    nothing; ``stages`` may be some of the networks, if those before them are trained: the others
    stay as they are.
    """

    recipe: Recipe
    corpora: tuple[str, ...]
    out: str
    folder: Path
    start_from: str | None = None
    engine: Literal["deepspeed", "torch"] = "deepspeed"
    minutes: float | None = None
    half_precision_file: bool = False
    stages: tuple[str, ...] = STAGES
    checkpoints: str | None = None  # a folder or s3:// URL; None: ``folder``


def run_training(
    job: TrainingJob, *, rank: int, show: Reporter = silent, draw_panel: DrawPanel | None = None
) -> list[StageResult]:
    """Train the job's stages; rank 0 writes the twin's checkpoint, the log and the summary.

    It also writes ``tensorboard`` where that is installed, and ``panels`` where ``draw_panel`` is
    given, to all ranks alike. Under torchrun every rank calls this. After a SIGTERM nothing is
    written to ``job.out``, and the same job goes on. Raises SpecificationError where the corpora do
    not fit.
    """
    twin, corpora = check_training(job)
    digests = [corpus.digest for corpus in corpora]
    board = tensorboard_of(job.folder / "tensorboard") if rank == 0 else None
    reporters = (JsonLines(job.folder / "log.jsonl"), board or silent, show) if rank == 0 else ()
    inputs = StageInputs(
        recipe=job.recipe,
        twin=twin,
        train_rows=rows_of(corpora, "train", twin.spec.vae.lead_order),
        validation_rows=rows_of(corpora, "validation", twin.spec.vae.lead_order),
        make_engine=_engine_maker(job.engine),
        checkpoints=job.checkpoints or str(job.folder),
        report=tee(*reporters),
        going_on=job.start_from is not None and "vae" not in job.recipe.anew,
        minutes=job.minutes,
        show_panel=draw_panel and kept_panels(job.folder / "panels", draw_panel, board),
        facts={"corpus": " ".join(digests)},
    )
    results = train_twin(inputs, job.stages)
    if rank == 0 and not results[-1].was_ended:
        _finish(job, inputs, results, digests)
    return results


def check_training(job: TrainingJob, *, world_size: int = 1) -> tuple[EcgTwin, list[Origin]]:
    """Return the twin to start from and the corpora; writes nothing.

    Raises SpecificationError where they do not fit, where ``world_size`` ranks cannot share a batch
    equally, or where ``out`` is taken by something else than what a training in ``folder`` put
    there.
    """
    for stage in job.stages:
        _check_shared(stage, getattr(job.recipe, stage).training, world_size)
    corpora = [open_origin(url) for url in job.corpora]
    twin = _start(job)
    twin.text_encoder = text_encoder_for(job.corpora, twin.spec.text)
    for corpus in corpora:
        check_fits(corpus.url, corpus.num_samples, corpus.sampling_rate_hz, twin.spec)
    check_weighting(job.recipe.denoiser, twin.spec.process)
    if job.folder.exists() and not job.folder.is_dir():
        raise SpecificationError(f"--folder {job.folder} is a file; give a folder")
    if object_exists(join(job.out, "twin.json")) and not (job.folder / "log.jsonl").exists():
        raise SpecificationError(
            f"{job.out} holds a checkpoint that was not trained in {job.folder}; nothing was "
            "changed: choose another --out, or the --folder of that training"
        )
    _check_finished(job, corpora)
    return twin, corpora


def _check_shared(stage: str, spec: TrainingSpec, world_size: int) -> None:
    try:
        parts_of(spec, rank=0, world_size=world_size)
    except SpecificationError as error:
        raise SpecificationError(f"{stage}.training: {error}") from None


def _check_finished(job: TrainingJob, corpora: Sequence[Origin]) -> None:
    """Raise SpecificationError where ``folder`` finished another training into ``out``."""
    summary = job.folder / "summary.json"
    if not summary.exists() or not object_exists(join(job.out, "twin.json")):
        return
    found = json.loads(summary.read_text())
    pairs = {
        "stages": (sorted(found["stages"]), sorted(job.stages)),
        "--corpus": (found["corpora"], [corpus.digest for corpus in corpora]),
        "--start-from": (found["start_from"], job.start_from),
    }
    differing = [name for name, (there, asked) in pairs.items() if there != asked]
    if differing:
        raise SpecificationError(
            f"{job.out} holds the checkpoint of a finished training in {job.folder} with other "
            f"{', '.join(differing)}; nothing was changed: choose another --out and --folder"
        )


def _start(job: TrainingJob) -> EcgTwin:
    if job.start_from is None:
        _check_trained_before(job, untrained=STAGES)
        return EcgTwin.untrained(job.recipe.preset, seed=job.recipe.denoiser.training.seed)
    twin, anew = EcgTwin.load(job.start_from), job.recipe.anew
    if anew:
        spec, seed = preset(job.recipe.preset), job.recipe.denoiser.training.seed
        twin = begun_anew(twin, spec, anew, seed=seed)
    elif twin.spec.preset != job.recipe.preset:
        raise SpecificationError(
            f"checkpoint {job.start_from!r} is of preset {twin.spec.preset!r}, the recipe trains "
            f"{job.recipe.preset!r}; give another checkpoint or another recipe, or name under "
            "`anew` the networks that are to begin untrained"
        )
    _check_trained_before(job, untrained=(*untrained_networks(twin.provenance), *anew))
    return twin


def _check_trained_before(job: TrainingJob, *, untrained: Sequence[str]) -> None:
    """Raise SpecificationError where a stage would learn from a network that knows nothing."""
    for stage in job.stages:
        needed = STAGES[: STAGES.index(stage)]
        missing = [name for name in needed if name in untrained and name not in job.stages]
        if missing:
            where = f"in {job.start_from!r}" if job.start_from else "without --start-from"
            raise SpecificationError(
                f"{stage} learns from {' and '.join(missing)}, untrained {where}; give "
                "--start-from, a checkpoint that has what it needs, or train `all`"
            )


def _engine_maker(kind: str) -> Callable[[nn.Module, TrainingSpec], Engine]:
    if kind == "torch":
        return TorchEngine
    from ecgtwin.training.deepspeed_engine import DeepSpeedEngine

    return DeepSpeedEngine


def _own_version() -> str:
    try:
        return version("ecgtwin")
    except PackageNotFoundError:  # a copy of the sources on another machine
        return "not installed"


def _statements(job: TrainingJob, twin: EcgTwin, rows: TrainingRows) -> dict[str, int]:
    """Return how many recordings with each statement the denoiser has learnt from.

    What it was trained on before counts where it goes on from there, or is left alone; the larger
    number, as the recordings may be the same.
    """
    counts: Counter[str] = Counter()
    if "denoiser" in job.stages:
        for condition in rows.conditions:
            counts.update({one.code for one in condition.statements})
    before = twin.provenance.get("statements")
    begins_anew = "denoiser" in job.stages and "denoiser" in job.recipe.anew
    if isinstance(before, dict) and not begins_anew:
        counts |= Counter(before)
    return dict(sorted(counts.items()))


def _left_untrained(job: TrainingJob, twin: EcgTwin) -> list[str]:
    before: Sequence[str] = STAGES
    if job.start_from is not None:
        before = (*untrained_networks(twin.provenance), *job.recipe.anew)
    return [name for name in STAGES if name in before and name not in job.stages]


def _finish(
    job: TrainingJob, inputs: StageInputs, results: Sequence[StageResult], digests: Sequence[str]
) -> None:
    twin = inputs.twin
    stages = {
        result.stage: {
            "steps": result.summary.step,
            "selected_step": result.selected_step,
            "validation": result.validation,
        }
        for result in results
    }
    provenance = {
        "recipe": job.recipe.model_dump(mode="json"),
        "corpora": list(digests),
        "start_from": job.start_from,
        "training_records": len(inputs.train_rows),
        "training_patients": len(set(inputs.train_rows.persons)),
        "statements": _statements(job, twin, inputs.train_rows),
        "stages": stages,
        "untrained": _left_untrained(job, twin),
        "engine": job.engine,
        "versions": {
            "ecgtwin": _own_version(),
            "torch": str(torch.__version__),
            "numpy": np.__version__,
        },
    }
    dtype = torch.float16 if job.half_precision_file else torch.float32
    twin.save(job.out, provenance=provenance, dtype=dtype)
    summary = {
        **provenance,
        "digest": twin.digest,
        "parameters": parameters_of(twin),
        "seconds": {result.stage: result.summary.seconds for result in results},
    }
    (job.folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
