"""ECGs of held-out persons, real beside made, as a stage goes on; who draws them is passed in.

Persons, conditions and noise are those of the first panel in every later one, so that two panels
of a stage differ by what it has learnt. Axes: B person, L lead, T sample, C channel, F frame.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ecgtwin.diffusion.guidance import guided
from ecgtwin.diffusion.process import time_of_noise
from ecgtwin.diffusion.samplers import run
from ecgtwin.models.build import AnyDenoiser, AnyVae
from ecgtwin.signals.leads import twelve_leads
from ecgtwin.spec.condition import CardiacCondition
from ecgtwin.spec.pairs import PairSpec
from ecgtwin.spec.sampling import SamplingSpec
from ecgtwin.store.objects import replace_object
from ecgtwin.training.data import normal_of_rows
from ecgtwin.training.engine import Engine
from ecgtwin.training.loop import Callback
from ecgtwin.training.metrics import TensorBoard
from ecgtwin.training.rows import LatentRows, TrainingRows
from ecgtwin.training.selection import RAW
from ecgtwin.training.state import Tensors
from ecgtwin.twin.twin import EcgTwin

NUM_PERSONS = 3
MOST_STEPS = 16  # of a sampler
CANDIDATES = 256  # pairs among which the persons are chosen


@dataclass(frozen=True, slots=True)
class Likeness:
    """A recording (12, time) in mV, its condition, and what the networks made (12, time) in mV."""

    real_mv: NDArray[np.float32]
    made_mv: NDArray[np.float32]
    condition: CardiacCondition


@dataclass(frozen=True, slots=True)
class Panel:
    """What a stage can do after ``step`` steps, with the weights of the name ``weights``.

    ``way`` is what the networks did ("rebuilt", "generated"), ``note`` how, in words.
    """

    stage: str
    step: int
    weights: str
    way: str
    note: str
    sampling_rate_hz: float
    likenesses: tuple[Likeness, ...]


@dataclass(frozen=True, slots=True)
class Likenesses:
    """``of(weights)`` makes the ECGs of a panel."""

    way: str
    note: str
    of: Callable[[Tensors], tuple[Likeness, ...]]


@dataclass(frozen=True, slots=True)
class Drawing:
    """A panel as SVG, and as PNG where that can be had."""

    svg: str
    png: bytes | None


MakeLikenesses = Callable[[nn.Module], Likenesses]  # of the objective that is to take the weights
ShowPanel = Callable[[Panel], None]
DrawPanel = Callable[[Panel], Drawing]


def kept_panels(folder: Path, draw: DrawPanel, board: TensorBoard | None) -> ShowPanel:
    """Return what writes ``folder/STAGE-STEP.svg``, and the picture to TensorBoard.

    StoreError where it cannot be written.
    """

    def show(panel: Panel) -> None:
        drawing = draw(panel)
        name = f"{panel.stage}-{panel.step:08d}.svg"
        replace_object(str(folder / name), drawing.svg.encode())
        if board is not None and drawing.png is not None:
            board.image(panel.stage, panel.step, drawing.png)

    return show


def panels_of(
    stage: str, engine: Engine, likenesses: Likenesses, show: ShowPanel, *, rate_hz: float
) -> Callback:
    """Return what all ranks call; rank 0 shows a panel of the longest moving average."""

    def on_panel(step: int) -> None:
        candidates = engine.ema_weights() or {RAW: engine.weights()}
        if engine.rank == 0:
            name = max(candidates)
            made = likenesses.of(candidates[name])
            show(Panel(stage, step, name, likenesses.way, likenesses.note, rate_hz, made))

    return on_panel


def rebuilt(rows: TrainingRows, twin: EcgTwin) -> MakeLikenesses:
    """Return what passes recordings of different persons through the VAE."""
    chosen = _different(np.arange(min(len(rows), CANDIDATES)), rows)
    samples_BLT = rows.samples_BLT[chosen]

    def with_objective(objective: nn.Module) -> Likenesses:
        device = _judged(objective)
        vae = cast(AnyVae, objective.get_submodule("network"))

        @torch.no_grad()
        def of(weights: Tensors) -> tuple[Likeness, ...]:
            objective.load_state_dict(weights)
            latent_BCF = vae.encode(torch.from_numpy(samples_BLT).to(device))
            made_BLT = vae.decode(latent_BCF).float().cpu().numpy()
            order = twin.spec.vae.lead_order
            return _likenesses(rows, chosen, twin, twelve_leads(made_BLT, order))

        return Likenesses("rebuilt", "through the latent's mean", of)

    return with_objective


def generated(rows: LatentRows, pairs: PairSpec, twin: EcgTwin, *, seed: int) -> MakeLikenesses:
    """Return what generates persons from one recording in the condition of another."""
    drawn = rows.rows.sampler(pairs, seed=seed).pairs_at(0, CANDIDATES)
    places = _different(drawn.target_rows, rows.rows)
    reference, target = (torch.from_numpy(drawn[member][places]) for member in (0, 1))
    noise_BCF = normal_of_rows(seed, 0, slice(0, len(places)), *twin.latent_shape)
    sampling = few_steps(twin.spec.sampling)
    guidance = f", guidance {sampling.guidance_scale:g}" if sampling.guidance_scale != 1 else ""

    def with_objective(objective: nn.Module) -> Likenesses:
        device = _judged(objective)
        denoiser = cast(AnyDenoiser, objective.get_submodule("network"))

        @torch.no_grad()
        def of(weights: Tensors) -> tuple[Likeness, ...]:
            objective.load_state_dict(weights)
            conditions = rows.conditions.take(target).to(device)
            base_BW = rows.base_vectors_BW[reference].to(device)
            told = denoiser.embed(base_BW, conditions)
            free = None
            if sampling.guidance_scale != 1:
                nobody = torch.zeros(len(places), dtype=torch.bool, device=device)
                free = denoiser.embed(base_BW, conditions, is_told_B=nobody)
            end = sampling.guided_until_time * time_of_noise(twin.spec.process)
            predict = guided(denoiser, told, free, scale=sampling.guidance_scale, until_time=end)
            latent_BCF = run(twin.sampler(sampling), predict, noise_BCF.to(device))
            made = twin.samples_of(latent_BCF.to(twin.device), leads=sampling.leads)
            return _likenesses(rows.rows, target.numpy(), twin, made)

        how = f"{sampling.num_steps} steps of {sampling.sampler}{guidance}"
        return Likenesses("generated", f"from another recording of theirs, {how}", of)

    return with_objective


def few_steps(sampling: SamplingSpec) -> SamplingSpec:
    """Return a deterministic sampling of few steps after the networks' own."""
    sampler = "ddim" if sampling.sampler == "ddpm" else sampling.sampler
    steps = min(sampling.num_steps, MOST_STEPS)
    return sampling.model_copy(update={"sampler": sampler, "num_steps": steps})


def _judged(objective: nn.Module) -> torch.device:
    """Have the objective learn nothing; return where it is."""
    objective.eval().requires_grad_(False)
    return next(objective.parameters()).device


def _different(candidates: NDArray[np.int64], rows: TrainingRows) -> NDArray[np.int64]:
    """Return places among ``candidates`` of different persons, with other statements first."""
    of_statements: dict[tuple[str, ...], int] = {}
    of_person: dict[str, int] = {}
    for place, row in enumerate(candidates.tolist()):
        codes = tuple(statement.code for statement in rows.conditions[row].statements)
        of_statements.setdefault(codes, place)
    for place in (*of_statements.values(), *range(len(candidates))):
        of_person.setdefault(rows.persons[int(candidates[place])], place)
    return np.array(list(of_person.values())[:NUM_PERSONS], np.int64)


def _likenesses(
    rows: TrainingRows,
    chosen: NDArray[np.int64],
    twin: EcgTwin,
    made_mv: NDArray[np.float32],
) -> tuple[Likeness, ...]:
    real_mv = twelve_leads(rows.samples_BLT[chosen], twin.spec.vae.lead_order)
    return tuple(
        Likeness(real.astype(np.float32), made.astype(np.float32), rows.conditions[row])
        for real, made, row in zip(real_mv, made_mv, chosen.tolist(), strict=True)
    )
