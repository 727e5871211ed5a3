"""What is measured of one preset on one device. Inputs are on the device from the start.

Rows hold: ``ecg_per_s``, the median and extreme seconds, ``tflops``, and the memory at its highest.
"""

import copy
import time
from collections.abc import Callable
from itertools import pairwise
from statistics import median

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.device.cases import Row
from benchmarks.device.precision import precision
from benchmarks.networks import Inputs, deterministic, stirred_twin
from benchmarks.sampling import compared, largest_difference
from benchmarks.timing import Pace, Timing, timed
from ecgtwin.diffusion.samplers import run
from ecgtwin.spec.recipe import DenoiserRecipe
from ecgtwin.spec.training import TrainingSpec
from ecgtwin.training.engine import Batch, TorchEngine
from ecgtwin.training.objectives import DenoiserObjective
from ecgtwin.twin.twin import EcgTwin

# Largest difference from the CPU in fp32 over the largest value: one network, and a whole draw or
# training step, where differences add up.
ALLOWED = {"fp32": (1e-4, 1e-3), "tf32": (1e-2, 5e-2), "bf16": (5e-2, 2e-1)}
OVER_MANY = ("draw", "loss", "gradient")
AGREEMENT_BATCH = 2
DRAWS = Pace(num_warm=0, least_runs=2, most_runs=5, enough_s=2.0)  # warmed by one short draw
ONCE = Pace(num_warm=0, least_runs=1, most_runs=1)


class Workbench:
    """One preset: its networks on the CPU, to agree with, and on ``device``, to be measured."""

    def __init__(
        self, preset: str, device: torch.device, *, draw_steps: int, is_quick: bool
    ) -> None:
        self.preset, self.device, self.draw_steps = preset, device, draw_steps
        self.pace = ONCE if is_quick else Pace()
        self.pace_of_draws = ONCE if is_quick else DRAWS
        self.on_cpu = stirred_twin(preset)
        self.twin = copy.deepcopy(self.on_cpu).to(device)
        self.gflop = flops_of(self.on_cpu)
        self._expected: dict[str, Tensor] = {}

    @property
    def evaluations(self) -> int:
        """Passes of the denoiser that one ECG takes; a guided step takes two."""
        guided = deterministic(self.twin, self.draw_steps).guidance_scale != 1
        return self.draw_steps * (2 if guided else 1)

    def agreement(self, name: str, num_steps: int) -> Row:
        """Return the largest relative difference of each network from the CPU in fp32."""
        if not self._expected:
            self._expected = outputs(self.on_cpu, num_steps, "fp32")
        found = outputs(self.twin, num_steps, name)
        errors = {
            key: largest_difference(expected, found[key].cpu())
            for key, expected in self._expected.items()
        }
        one, many = ALLOWED[name]
        agrees = all(error <= (many if key in OVER_MANY else one) for key, error in errors.items())
        return {"errors": errors, "allowed": [one, many], "agrees": agrees}

    @torch.no_grad()
    def network(self, which: str, name: str, batch: int) -> Row:
        """Measure one pass of one network."""
        inputs = Inputs.of(self.twin, batch)
        call = passes(self.twin, inputs)[which]
        with precision(name, self.device):
            return self._row(batch, self.gflop[which], lambda: timed(call, self.device, self.pace))

    def training_step(self, name: str, batch: int, *, compiles: bool = False) -> Row:
        """Measure forward, backward, clipping and AdamW of the denoiser in TorchEngine."""
        engine = engine_of(self.twin, name)
        if compiles:
            engine.objective.get_submodule("network").compile()
        rows = Inputs.of(self.twin, batch).training_batch(self.twin)
        with precision("tf32" if name == "tf32" else "fp32", self.device):
            return self._row(
                batch,
                self.gflop["training step"],
                lambda: timed(lambda: train_once(engine, rows), self.device, self.pace),
            )

    @torch.no_grad()
    def draw(self, name: str, batch: int, *, compiles: bool = False) -> Row:
        """Measure a draw: texts, embedding, steps, decoder and the copy to the host."""
        twin = copy.deepcopy(self.twin) if compiles else self.twin
        if compiles:
            twin.denoiser.compile()
        parts: list[dict[str, float]] = []

        def once() -> None:
            parts.append(draw_in_parts(twin, inputs, self.draw_steps))

        inputs = Inputs.of(twin, batch)
        gflop = self.evaluations * self.gflop["denoiser"] + self.gflop["decoder"]
        with precision(name, self.device):
            draw_in_parts(twin, inputs, 1)
            row = self._row(batch, gflop, lambda: timed(once, self.device, self.pace_of_draws))
        whole = median(sum(seconds.values()) for seconds in parts)
        shares = {part: median(one[part] for one in parts) / whole for part in parts[0]}
        return {**row, "steps": self.draw_steps, "evaluations": self.evaluations, "shares": shares}

    def against_reference(self, batch: int, num_steps: int, *, num_pairs: int) -> Row:
        """Compare with the published way of sampling; see ``benchmarks.sampling``."""
        with precision("fp32", self.device):
            return compared(self.twin, batch, num_steps, num_pairs=num_pairs)

    def _row(self, batch: int, gflop: float, measure: Callable[[], Timing]) -> Row:
        on_gpu = self.device.type == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(self.device)
        timing = measure()
        peak = torch.cuda.max_memory_allocated(self.device) / 2**30 if on_gpu else None
        return {
            "ecg_per_s": batch / timing.median_s,
            **timing.as_json(),
            "tflops": batch * gflop / timing.median_s / 1e3,
            "peak_memory_gib": peak,
        }


@torch.no_grad()
def passes(twin: EcgTwin, inputs: Inputs) -> dict[str, Callable[[], Tensor]]:
    """Return one pass of each network; the condition is embedded beforehand for the denoiser."""
    batch = twin.condition_batch(inputs.conditions)
    told, times = twin.denoiser.embed(inputs.base_BW, batch), inputs.times(twin)
    return {
        "encoder": lambda: twin.vae.encode(inputs.samples_BLT),
        "decoder": lambda: twin.vae.decode(inputs.latent_BCF),
        "extractor": lambda: twin.base_extractor(inputs.latent_BCF, batch),
        "denoiser": lambda: twin.denoiser(inputs.noise_BCF, times, told),
    }


def outputs(twin: EcgTwin, num_steps: int, name: str) -> dict[str, Tensor]:
    """Return what each network, a short draw and one training step give in a precision."""
    inputs = Inputs.of(twin, AGREEMENT_BATCH)
    with torch.no_grad(), precision(name, twin.device):
        found = {key: call().float() for key, call in passes(twin, inputs).items()}
        found["draw"] = decoded(twin, steps_run(twin, inputs, num_steps))
    with precision("tf32" if name == "tf32" else "fp32", twin.device):
        engine = engine_of(twin, name)
        loss = train_once(engine, inputs.training_batch(twin))
    norm = engine.gradient_norm()
    return {**found, "loss": loss, "gradient": torch.tensor(norm)}


def steps_run(twin: EcgTwin, inputs: Inputs, num_steps: int) -> Tensor:
    """Return latents (B, C, F) after a deterministic draw of ``num_steps``."""
    sampling = deterministic(twin, num_steps)
    predict = twin.predictor(inputs.base_BW.cpu().numpy(), inputs.conditions, sampling)
    return run(twin.sampler(sampling), predict, inputs.noise_BCF)


def decoded(twin: EcgTwin, latent_BCF: Tensor) -> Tensor:
    """Return the leads (B, L, T) that the decoder makes, in fp32 on the CPU."""
    return twin.vae.decode(latent_BCF).float().cpu()


def draw_in_parts(twin: EcgTwin, inputs: Inputs, num_steps: int) -> dict[str, float]:
    """Return the seconds of each part of a draw."""
    sampling, marks = deterministic(twin, num_steps), [now(twin.device)]
    predict = twin.predictor(inputs.base_BW.cpu().numpy(), inputs.conditions, sampling)
    marks.append(now(twin.device))
    latents = run(twin.sampler(sampling), predict, inputs.noise_BCF)
    marks.append(now(twin.device))
    samples = twin.vae.decode(latents)
    marks.append(now(twin.device))
    samples.float().cpu()
    marks.append(now(twin.device))
    spent = [after - before for before, after in pairwise(marks)]
    return dict(zip(("embedding", "steps", "decoder", "copy to host"), spent, strict=True))


def now(device: torch.device) -> float:
    """Return the time once ``device`` has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def engine_of(twin: EcgTwin, name: str) -> TorchEngine:
    """Return an engine that trains a copy of the denoiser of ``twin``."""
    spec = TrainingSpec(precision="bf16" if name == "bf16" else "fp32", warmup_steps=0)
    denoiser = copy.deepcopy(twin.denoiser).requires_grad_(True)
    objective = DenoiserObjective(
        denoiser, DenoiserRecipe(training=spec), process=twin.spec.process
    )
    return TorchEngine(objective, spec, device=twin.device)


def train_once(engine: TorchEngine, rows: Batch) -> Tensor:
    """Make one step; return the loss before it."""
    loss = engine.loss(rows)["loss"]
    engine.backward(loss)
    engine.step()
    return loss.detach().float().cpu()


def flops_of(twin: EcgTwin) -> dict[str, float]:
    """Return the billions of operations for one ECG: of a pass of each network, of a training step.

    A multiplication with its addition counts as two; attention is counted as plain products.
    """
    inputs = Inputs.of(twin, 1)
    with torch.no_grad():
        found = {name: _gflop(call) for name, call in passes(twin, inputs).items()}
    engine, rows = engine_of(twin, "fp32"), inputs.training_batch(twin)
    found["training step"] = _gflop(lambda: engine.backward(engine.loss(rows)["loss"]))
    return found


def _gflop(call: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        call()
    return float(counter.get_total_flops()) / 1e9
