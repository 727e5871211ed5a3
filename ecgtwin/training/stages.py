"""Train the three networks of a twin, one after another, on one corpus.

The same function runs in one process and under torchrun, on any engine.
"""

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor, nn

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.base import digest_of
from ecgtwin.spec.pairs import PairSpec
from ecgtwin.spec.recipe import STAGES, Recipe
from ecgtwin.spec.training import TrainingSpec
from ecgtwin.store.objects import join, read_object, replace_object
from ecgtwin.training.cost import SampleCost, cost_of
from ecgtwin.training.data import (
    Batches,
    DenoiserBatches,
    PairBatches,
    VaeBatches,
    check_crop,
    latent_statistics,
)
from ecgtwin.training.engine import Engine
from ecgtwin.training.judges import MakeJudge, mean_judge, retrieval_judge
from ecgtwin.training.loop import Callback, TrainingSummary, resume, train
from ecgtwin.training.meter import RunFacts
from ecgtwin.training.metrics import Line, Reporter
from ecgtwin.training.objectives import BaseExtractorObjective, DenoiserObjective, VaeObjective
from ecgtwin.training.panels import (
    MakeLikenesses,
    ShowPanel,
    generated,
    panels_of,
    rebuilt,
)
from ecgtwin.training.peaks import peak_of_ranks
from ecgtwin.training.rows import LatentRows, TrainingRows
from ecgtwin.training.selection import Judge, Selection
from ecgtwin.training.state import Tensors
from ecgtwin.training.steps import GradientStep, contrastive_step, mean_step
from ecgtwin.training.virtual_persons import virtual_latents
from ecgtwin.twin.encoding import latents_of
from ecgtwin.twin.twin import EcgTwin

MakeEngine = Callable[[nn.Module, TrainingSpec], Engine]
VALIDATION_ROWS = 64  # of each batch, at most
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
    checkpoints: str  # folder or s3:// URL of the training checkpoints, one folder a stage
    report: Reporter
    going_on: bool
    minutes: float | None = None
    show_panel: ShowPanel | None = None  # given to all ranks or to none
    facts: Mapping[str, str] = field(default_factory=dict)


def train_twin(inputs: StageInputs, stages: tuple[str, ...] = STAGES) -> list[StageResult]:
    """Train ``stages`` in order; ``inputs.twin`` ends with the averaged weights of each.

    A stage goes on from its newest checkpoint under ``inputs.checkpoints``. With ``minutes`` each
    stage gets its share of them and is finished there, also for the next call: the stages after it
    learn from it as it is. After a SIGTERM no further stage is begun: it would learn from a network
    that is not finished. Raises SpecificationError when the corpus has too
    few patients for a stage.
    """
    check_rows(inputs.train_rows, inputs.recipe.pairs, stages)
    results: list[StageResult] = []
    for name in stages:
        results.append(_run(name, inputs))
        if results[-1].was_ended:
            break
    return results


def check_rows(rows: TrainingRows, pairs: PairSpec, stages: Sequence[str]) -> None:
    """Raise SpecificationError where ``stages`` need pairs and no person has two such recordings.

    A VAE needs recordings only.
    """
    if not len(rows):
        raise SpecificationError("the corpus has no training records; ingest more records")
    if set(stages) - {"vae"} and not rows.num_paired(pairs):
        allowed = "" if pairs == PairSpec() else f" that {pairs} allows in a pair"
        raise SpecificationError(
            f"the corpus has {len(rows)} training records of {len(set(rows.persons))} patients, "
            f"none with two records{allowed}; pairs of one person are needed, ingest more records"
        )


class _Prepared(NamedTuple):
    """One stage before its engine is made."""

    objective: nn.Module
    spec: TrainingSpec
    batches: Batches
    gradient_step: GradientStep
    make_judge: MakeJudge | None
    make_likenesses: MakeLikenesses | None  # of persons that the stage does not train on


def _run(name: str, inputs: StageInputs) -> StageResult:
    prepare = {"vae": _vae, "base_extractor": _base_extractor, "denoiser": _denoiser}[name]
    prepared = prepare(inputs)
    spec, folder = prepared.spec, join(inputs.checkpoints, name)

    def report(line: Line) -> None:
        inputs.report({"stage": name, **line})

    cost = cost_of(prepared.objective, prepared.batches(0, slice(0, 1)))
    # The engine trains a copy: ZeRO takes its parameters apart.
    engine = inputs.make_engine(copy.deepcopy(prepared.objective), spec)
    try:
        deadline = None if inputs.minutes is None else 60 * inputs.minutes * MINUTE_SHARES[name]
        facts, peak_source = _facts(name, inputs, prepared, engine, cost)
        start_step = resume(engine, folder, facts=facts, report=report)
        if start_step and start_step == _deadline_step(folder):
            spec = spec.model_copy(update={"num_steps": start_step})
        report(_first_line(start_step, spec, facts, peak_source, deadline))
        selection = Selection(engine, folder, judge=_judge(prepared, engine), report=report)
        selection.resume(start_step)
        summary = train(
            engine,
            prepared.batches,
            spec,
            folder=folder,
            report=report,
            start_step=start_step,
            gradient_step=prepared.gradient_step,
            facts=facts,
            deadline_s=deadline,
            on_checkpoint=selection.consider,
            on_panel=_on_panel(name, inputs, prepared, engine),
        )
        if summary.stopped == "deadline" and engine.rank == 0:
            _note_deadline(folder, summary.step)
        weights = selection.weights()
    finally:
        engine.close()
    _settle(name, inputs, _network(prepared.objective), weights)
    return StageResult(name, summary, selection.validation, selection.step)


def _settle(name: str, inputs: StageInputs, network: nn.Module, weights: Tensors) -> None:
    """Have the twin's network keep the stage's weights."""
    network.load_state_dict({key.removeprefix("network."): value for key, value in weights.items()})
    network.eval().requires_grad_(False)
    if name == "vae" and not inputs.going_on:
        _measure_latents(inputs)


def _facts(
    name: str, inputs: StageInputs, prepared: _Prepared, engine: Engine, cost: SampleCost
) -> tuple[RunFacts, str]:
    """Return what a run is made from and costs, and where the peak comes from."""
    provenance = {**inputs.facts, **recipe_facts(name, prepared.spec, inputs.recipe)}
    makes_vectors_twice = prepared.gradient_step is not mean_step and len(engine.parts) > 1
    flops = cost.flops(forwards=2 if makes_vectors_twice else 1)
    by_convolution = cost.convolution_share > 0.5
    peak = peak_of_ranks(engine, prepared.spec, by_convolution=by_convolution)
    return RunFacts(provenance, flops, peak.flops), peak.source


def _first_line(
    step: int, spec: TrainingSpec, facts: RunFacts, peak_source: str, deadline_s: float | None
) -> Line:
    return {
        "step": step,
        "num_steps": spec.num_steps,
        "minutes": None if deadline_s is None else deadline_s / 60,
        "flops_per_sample": facts.flops_per_sample,
        "peak_flops": facts.peak_flops,
        "peak": peak_source,
    }


def _on_panel(
    name: str, inputs: StageInputs, prepared: _Prepared, engine: Engine
) -> Callback | None:
    if prepared.make_likenesses is None or inputs.show_panel is None:
        return None
    likenesses = prepared.make_likenesses(prepared.objective)
    rate_hz = inputs.twin.sampling_rate_hz
    return panels_of(name, engine, likenesses, inputs.show_panel, rate_hz=rate_hz)


def recipe_facts(stage: str, spec: TrainingSpec, recipe: Recipe) -> dict[str, str | None]:
    """Return what a checkpoint says of the recipe; usual pairs are not mentioned."""
    usual = stage == "vae" or recipe.pairs == PairSpec()
    objective = getattr(recipe, stage).model_dump(mode="json", exclude={"training"})
    return {
        "recipe": spec.recipe_digest(),
        "objective": digest_of(objective),
        "pairs": None if usual else recipe.pairs.digest(),
    }


def _judge(prepared: _Prepared, engine: Engine) -> Judge | None:
    """Return what judges weights, on the engine's device."""
    judged = prepared.objective.to(engine.device)
    return None if prepared.make_judge is None else prepared.make_judge(judged)


def _note_deadline(folder: str, step: int) -> None:
    replace_object(join(folder, DEADLINE), (json.dumps({"step": step}) + "\n").encode())


def _deadline_step(folder: str) -> int | None:
    """Return the step at which a deadline has finished the stage, None where none has."""
    try:
        return int(json.loads(read_object(join(folder, DEADLINE)))["step"])
    except FileNotFoundError:
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


def _vae(inputs: StageInputs) -> _Prepared:
    recipe, twin = inputs.recipe.vae, inputs.twin
    spec = recipe.training

    def batches(rows: TrainingRows, seed: int, total: int) -> VaeBatches:
        return VaeBatches(rows, latent_shape=twin.latent_shape, seed=seed, total=total)

    make_judge = make_likenesses = None
    if len(inputs.validation_rows):
        total = min(VALIDATION_ROWS, len(inputs.validation_rows))
        held_out = batches(inputs.validation_rows, spec.seed + 1, total)
        make_judge = mean_judge(held_out)
        make_likenesses = rebuilt(inputs.validation_rows, twin)
    objective = VaeObjective(twin.vae.requires_grad_(True), recipe)
    training = batches(inputs.train_rows, spec.seed, spec.batch_size)
    return _Prepared(objective, spec, training, mean_step, make_judge, make_likenesses)


def _base_extractor(inputs: StageInputs) -> _Prepared:
    recipe, pairs, twin = inputs.recipe.base_extractor, inputs.recipe.pairs, inputs.twin
    spec = recipe.training
    check_crop(recipe.crop_frames, twin.spec)
    rows = _encoded(inputs, "base_extractor")
    make_judge = None
    # one person has no strangers to be told from
    if inputs.validation_rows.num_paired(pairs) > 1:
        held_out = LatentRows.of(inputs.validation_rows, twin)
        make_judge = retrieval_judge(held_out, pairs, seed=spec.seed + 1)
    objective = BaseExtractorObjective(twin.base_extractor.requires_grad_(True), recipe)
    virtual: Sequence[Tensor] = ()
    if recipe.virtual_persons is not None:
        virtual = virtual_latents(rows.rows, twin, recipe.virtual_persons, seed=spec.seed)
    training = PairBatches(
        rows, recipe, seed=spec.seed, total=spec.batch_size, pairs=pairs, virtual=virtual
    )
    gradient_step = contrastive_step(recipe.max_scale, leak_weight=recipe.leak_weight)
    return _Prepared(objective, spec, training, gradient_step, make_judge, None)


def _denoiser(inputs: StageInputs) -> _Prepared:
    recipe, pairs, twin = inputs.recipe.denoiser, inputs.recipe.pairs, inputs.twin
    spec = recipe.training

    def batches(rows: LatentRows, seed: int, total: int) -> DenoiserBatches:
        return DenoiserBatches(rows, recipe, seed=seed, total=total, pairs=pairs)

    training = batches(_encoded(inputs, "denoiser"), spec.seed, spec.batch_size)
    make_judge = make_likenesses = None
    if inputs.validation_rows.num_paired(pairs):
        held_out = LatentRows.of(inputs.validation_rows, twin)
        total = min(VALIDATION_ROWS, len(held_out.rows))
        make_judge = mean_judge(batches(held_out, spec.seed + 1, total))
        make_likenesses = generated(held_out, pairs, twin, seed=spec.seed + 1)
    objective = DenoiserObjective(
        twin.denoiser.requires_grad_(True), recipe, process=twin.spec.process
    )
    return _Prepared(objective, spec, training, mean_step, make_judge, make_likenesses)


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
