"""Train the three networks of a twin, one after another, on one corpus.

The same function runs in one process and under torchrun, on any engine.
"""

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.pairs import PairSpec
from ecgtwin.spec.recipe import STAGES, Recipe
from ecgtwin.spec.training import TrainingSpec
from ecgtwin.training.data import (
    DenoiserBatches,
    PairBatches,
    Slice,
    VaeBatches,
    latent_statistics,
)
from ecgtwin.training.engine import Engine, to_device
from ecgtwin.training.loop import TrainingSummary, resume, train
from ecgtwin.training.meter import RunFacts
from ecgtwin.training.metrics import Line, Reporter
from ecgtwin.training.objectives import (
    BaseExtractorObjective,
    Batch,
    DenoiserObjective,
    VaeObjective,
)
from ecgtwin.training.rows import LatentRows, TrainingRows
from ecgtwin.training.selection import Judge, Selection
from ecgtwin.training.state import Tensors
from ecgtwin.twin.encoding import latents_of
from ecgtwin.twin.twin import EcgTwin

MakeEngine = Callable[[nn.Module, TrainingSpec], Engine]
MakeBatches = Callable[[Slice], Callable[[int], Batch]]
VALIDATION_BATCHES = 8
DEADLINE = "deadline.json"
MINUTE_SHARES = {"vae": 0.2, "base_extractor": 0.1, "denoiser": 0.7}


@dataclass(frozen=True, slots=True)
class StageResult:
    """How one stage went.

    ``selected_step`` is that of the weights it ended with, ``validation`` the means of the
    objective's outputs with them, empty without validation rows.
    """

    stage: str
    summary: TrainingSummary
    validation: dict[str, float]
    selected_step: int

    @property
    def was_ended(self) -> bool:
        """Whether a SIGTERM ended the stage; it goes on where it is run again."""
        return self.summary.stopped == "sigterm"


@dataclass(frozen=True)
class StageInputs:
    """What all stages share. ``going_on`` keeps the latent's scale of the twin one starts from."""

    recipe: Recipe
    twin: EcgTwin
    train_rows: TrainingRows
    validation_rows: TrainingRows
    make_engine: MakeEngine
    folder: Path
    report: Reporter
    going_on: bool
    minutes: float | None = None
    facts: Mapping[str, str] = field(default_factory=dict)


def train_twin(inputs: StageInputs, stages: tuple[str, ...] = STAGES) -> list[StageResult]:
    """Train ``stages`` in order; ``inputs.twin`` ends with the averaged weights of each.

    A stage goes on from its newest checkpoint under ``inputs.folder``. With ``minutes`` each stage
    gets its share of them and is finished there, also for the next call: the stages after it learn
    from it as it is. After a SIGTERM no further stage is begun: it would
    learn from a network that is not finished. Raises SpecificationError when the corpus has too
    few patients for a stage.
    """
    _check_rows(inputs.train_rows, inputs.recipe.pairs)
    results: list[StageResult] = []
    for name in stages:
        results.append(_run(name, inputs))
        if results[-1].was_ended:
            break
    return results


def _check_rows(rows: TrainingRows, pairs: PairSpec) -> None:
    if not rows.num_paired(pairs):
        allowed = "" if pairs == PairSpec() else f" that {pairs} allows in a pair"
        raise SpecificationError(
            f"the corpus has {len(rows)} training records of {len(set(rows.persons))} patients, "
            f"none with two records{allowed}; pairs of one person are needed, ingest more records"
        )


def _run(name: str, inputs: StageInputs) -> StageResult:
    prepare = {"vae": _vae, "base_extractor": _base_extractor, "denoiser": _denoiser}[name]
    objective, spec, batches, validation = prepare(inputs)
    judged = copy.deepcopy(objective)
    folder = inputs.folder / name

    def report(line: Line) -> None:
        inputs.report({"stage": name, **line})

    engine = inputs.make_engine(objective, spec)
    try:
        part = Slice.of_rank(spec.batch_size, engine.rank, engine.world_size)
        deadline = None if inputs.minutes is None else 60 * inputs.minutes * MINUTE_SHARES[name]
        facts = RunFacts(provenance={**inputs.facts, **_recipe_facts(name, spec, inputs.recipe)})
        start_step = resume(engine, folder, facts=facts)
        if start_step and start_step == _deadline_step(folder):
            spec = spec.model_copy(update={"num_steps": start_step})
        judge = None if validation is None else _judge(judged.to(engine.device), validation)
        selection = Selection(engine, folder, judge=judge, report=report)
        selection.resume(start_step)
        summary = train(
            engine,
            batches(part),
            spec,
            folder=folder,
            report=report,
            start_step=start_step,
            facts=facts,
            deadline_s=deadline,
            on_panel=selection.consider,
        )
        if summary.stopped == "deadline" and engine.rank == 0:
            (folder / DEADLINE).write_text(json.dumps({"step": summary.step}) + "\n")
        weights = selection.weights()
    finally:
        engine.close()
    network = _network(objective)
    network.load_state_dict({key.removeprefix("network."): value for key, value in weights.items()})
    network.eval().requires_grad_(False)
    if name == "vae" and not inputs.going_on:
        _measure_latents(inputs)
    return StageResult(name, summary, selection.validation, selection.step)


def _recipe_facts(stage: str, spec: TrainingSpec, recipe: Recipe) -> dict[str, str | None]:
    """Return what a checkpoint says of the recipe; usual pairs are not mentioned."""
    usual = stage == "vae" or recipe.pairs == PairSpec()
    return {"recipe": spec.recipe_digest(), "pairs": None if usual else recipe.pairs.digest()}


def _deadline_step(folder: Path) -> int | None:
    """Return the step at which a deadline has finished the stage, None where none has."""
    try:
        return int(json.loads((folder / DEADLINE).read_text())["step"])
    except (FileNotFoundError, json.JSONDecodeError):  # none, or killed while it was written
        return None


def _network(objective: nn.Module) -> nn.Module:
    return objective.get_submodule("network")


def _measure_latents(inputs: StageInputs) -> None:
    """Set the latent's mean and scale from the training rows, so that it has unit variance."""
    rows, vae = inputs.train_rows, inputs.twin.vae
    vae.latent_mean_C1.zero_()
    vae.latent_scale_C1.fill_(1)
    mean, scale = latent_statistics([latents_of(inputs.twin, rows.samples_BLT)])
    vae.latent_mean_C1.copy_(mean)
    vae.latent_scale_C1.copy_(scale)


def _judge(judged: nn.Module, batches: Callable[[int], Batch]) -> Judge:
    """Return what the objective ``judged`` finds on validation batches with given weights."""
    judged.eval().requires_grad_(False)
    device = next(judged.parameters()).device

    @torch.no_grad()
    def judge(weights: Tensors) -> dict[str, float]:
        judged.load_state_dict(weights)
        totals: dict[str, float] = {}
        for step in range(VALIDATION_BATCHES):
            for key, value in judged(to_device(batches(step), device)).items():
                totals[key] = totals.get(key, 0.0) + float(value) / VALIDATION_BATCHES
        return totals

    return judge


Prepared = tuple[nn.Module, TrainingSpec, MakeBatches, Callable[[int], Batch] | None]


def _vae(inputs: StageInputs) -> Prepared:
    recipe, twin = inputs.recipe.vae, inputs.twin
    spec = recipe.training

    def batches(rows: TrainingRows, seed: int) -> MakeBatches:
        return lambda part: VaeBatches(rows, latent_shape=twin.latent_shape, seed=seed, part=part)

    validation = None
    if len(inputs.validation_rows):
        validation = batches(inputs.validation_rows, spec.seed + 1)(Slice(64, 0, 64))
    objective = VaeObjective(twin.vae.requires_grad_(True), recipe)
    return objective, spec, batches(inputs.train_rows, spec.seed), validation


def _base_extractor(inputs: StageInputs) -> Prepared:
    recipe, pairs, twin = inputs.recipe.base_extractor, inputs.recipe.pairs, inputs.twin
    spec = recipe.training
    rows = _encoded(inputs, "base_extractor")
    validation = None
    # one person has no negatives: the loss is 0
    if inputs.validation_rows.num_paired(pairs) > 1:
        held_out = LatentRows.of(inputs.validation_rows, twin)
        size = min(64, len(set(held_out.rows.persons)))
        part = Slice(size, 0, size)
        validation = PairBatches(held_out, recipe, seed=spec.seed + 1, part=part, pairs=pairs)
    objective = BaseExtractorObjective(twin.base_extractor.requires_grad_(True), recipe)
    return (
        objective,
        spec,
        lambda part: PairBatches(rows, recipe, seed=spec.seed, part=part, pairs=pairs),
        validation,
    )


def _denoiser(inputs: StageInputs) -> Prepared:
    recipe, pairs, twin = inputs.recipe.denoiser, inputs.recipe.pairs, inputs.twin
    spec = recipe.training
    rows = _encoded(inputs, "denoiser")
    validation = None
    if inputs.validation_rows.num_paired(pairs):
        held_out = LatentRows.of(inputs.validation_rows, twin)
        part = Slice(64, 0, 64)
        validation = DenoiserBatches(held_out, recipe, seed=spec.seed + 1, part=part, pairs=pairs)
    objective = DenoiserObjective(
        twin.denoiser.requires_grad_(True), recipe, process=twin.spec.process
    )
    return (
        objective,
        spec,
        lambda part: DenoiserBatches(rows, recipe, seed=spec.seed, part=part, pairs=pairs),
        validation,
    )


def _encoded(inputs: StageInputs, stage: str) -> LatentRows:
    """Encode the training rows, and report where values that the corpus holds were taken."""
    rows = LatentRows.of(inputs.train_rows, inputs.twin)
    num_latents, num_vectors = rows.num_stored
    if num_latents:
        line: Line = {"stage": stage, "rows": len(inputs.train_rows)}
        inputs.report({**line, "stored_latents": num_latents, "stored_base_vectors": num_vectors})
    return rows


def parameters_of(twin: EcgTwin) -> dict[str, int]:
    """Return the number of parameters of each network."""
    counts: dict[str, int] = {}
    for name in STAGES:
        tensors: list[Tensor] = list(twin.get_submodule(name).parameters())
        counts[name] = sum(tensor.numel() for tensor in tensors)
    return counts
