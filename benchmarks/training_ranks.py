"""The processes that benchmarks.training measures; started by it, each says what it saw as JSON.

python -m benchmarks.training_ranks overhead|pace|memory OUT [...]
"""

import json
import os
import resource
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ecgtwin.models.base_extractor import BaseExtractor
from ecgtwin.models.build import build_denoiser
from ecgtwin.spec.presets import preset
from ecgtwin.spec.recipe import BaseExtractorRecipe, DenoiserRecipe
from ecgtwin.spec.training import TrainingSpec
from ecgtwin.training.deepspeed_engine import DeepSpeedEngine
from ecgtwin.training.engine import TorchEngine, adamw
from ecgtwin.training.loop import train
from ecgtwin.training.objectives import BaseExtractorObjective, Batch, DenoiserObjective
from ecgtwin.training.steps import contrastive_step

NUM_TOKENS = 3


def conditions(rows: int, random: np.random.Generator, prefix: str = "") -> Batch:
    """Return made-up conditions, in the form in which batches hold them."""
    real = np.ones((rows, NUM_TOKENS), bool)
    text = random.standard_normal((rows, NUM_TOKENS, 192), dtype=np.float32)
    return {
        f"{prefix}text_BKW": torch.from_numpy(text),
        f"{prefix}certainty_BK3": torch.zeros(rows, NUM_TOKENS, 3),
        f"{prefix}token_is_real_BK": torch.from_numpy(real),
        f"{prefix}rate_B": torch.full((rows,), 70.0),
        f"{prefix}age_B": torch.full((rows,), 60.0),
        f"{prefix}sex_B": torch.zeros(rows, dtype=torch.long),
    }


def denoiser_batch(step: int, part: slice) -> Batch:
    """Return rows ``part`` of a made-up batch for the denoiser of ``tiny``."""
    rows = part.stop - part.start
    random = np.random.default_rng([step, part.start])

    def normal(*shape: int) -> Tensor:
        return torch.from_numpy(random.standard_normal((rows, *shape), dtype=np.float32))

    return {
        "latent_BCF": normal(16, 64),
        "base_BW": normal(128),
        "has_base_B": torch.ones(rows, dtype=torch.bool),
        "is_told_B": torch.ones(rows, dtype=torch.bool),
        "noise_BCF": normal(16, 64),
        "time_normal_B": normal(),
        **conditions(rows, random),
    }


def pair_batch(step: int, part: slice) -> Batch:
    """Return pairs ``part`` of a made-up batch for the base extractor of ``tiny``."""
    rows = part.stop - part.start
    random = np.random.default_rng([step, part.start])
    batch: Batch = {
        "person_B": torch.arange(part.start, part.stop),
        "is_told_B": torch.ones(rows, dtype=torch.bool),
    }
    for prefix in ("reference_", "target_"):
        latent = random.standard_normal((rows, 16, 64), dtype=np.float32)
        batch[f"{prefix}latent_BCF"] = torch.from_numpy(latent)
        batch |= conditions(rows, random, prefix)
    return batch


def denoiser_objective(spec: TrainingSpec) -> DenoiserObjective:
    """Return the objective of an untrained denoiser of ``tiny``."""
    torch.manual_seed(0)
    twin = preset("tiny")
    recipe = DenoiserRecipe(training=spec)
    return DenoiserObjective(build_denoiser(twin), recipe, process=twin.process)


def spec_of(batch_size: int, num_steps: int, **changes: object) -> TrainingSpec:
    """Return the settings that all measurements share."""
    settings = {"checkpoint_every": 10**6, "log_every": 1, "zero_stage": 1, **changes}
    return TrainingSpec.model_validate(
        {"batch_size": batch_size, "num_steps": num_steps, **settings}
    )


def ours(engine: DeepSpeedEngine, spec: TrainingSpec, folder: Path) -> tuple[list[float], float]:
    """Return the seconds of each step of our loop but the last, and the share of waiting for data.

    From batch to batch: everything that a step costs. The last one ends in a checkpoint.
    """
    lines: list[dict[str, object]] = []
    begun = [time.monotonic()]

    def batches(step: int, part: slice) -> Batch:
        batch = denoiser_batch(step, part)
        begun.append(time.monotonic())
        return batch

    train(engine, batches, spec, folder=folder, report=lines.append)
    waits = [float(str(line["data_wait_share"])) for line in lines if "loss" in line]
    return np.diff(begun[1:]).tolist(), statistics.median(waits) if waits else 0.0


def bare(model: nn.Module, optimizer: torch.optim.Optimizer, batch: Batch, num: int) -> list[float]:
    """Return the seconds of each step of a loop with nothing in it but the step."""
    seconds = []
    for _ in range(num):
        begun = time.monotonic()
        optimizer.zero_grad(set_to_none=True)
        model(batch)["loss"].backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        seconds.append(time.monotonic() - begun)
    return seconds


def overhead(out: Path, batch_size: int, num_steps: int, rounds: int) -> None:
    """Bare DDP and our loop on DeepSpeed ZeRO 1, in turns, in the same ranks."""
    spec = spec_of(batch_size, num_steps)
    engine = DeepSpeedEngine(denoiser_objective(spec), spec)
    objective = denoiser_objective(spec)
    optimizer = adamw(objective, spec)
    model = DistributedDataParallel(objective)
    batch = denoiser_batch(0, engine.parts[0])
    bare(model, optimizer, batch, 1)
    found = []
    for number in range(rounds):
        plain = statistics.median(bare(model, optimizer, batch, num_steps))
        seconds, wait = ours(engine, spec, out / f"round-{number}")
        ours_s = statistics.median(seconds)
        found.append({"bare_s": plain, "ours_s": ours_s, "data_wait_share": wait})
    if engine.rank == 0:
        (out / "overhead.json").write_text(json.dumps(found))
    engine.close()


def pace(out: Path, batch_size: int, num_steps: int, rounds: int) -> None:
    """Samples per second of our loop on as many ranks as there are, each on a core of its own."""
    core = int(os.environ.get("ECGTWIN_BENCHMARK_CORE") or os.environ.get("LOCAL_RANK", "0"))
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[core]})
    spec = spec_of(batch_size, num_steps)
    engine = DeepSpeedEngine(denoiser_objective(spec), spec)
    found = []
    for number in range(rounds):
        seconds, _ = ours(engine, spec, out / f"round-{number}")
        found.append(batch_size / statistics.median(seconds[1:]))
    if engine.rank == 0:
        (out / "pace.json").write_text(json.dumps(found))
    engine.close()


def memory(out: Path, batch_size: int, num_steps: int, micro: int) -> None:
    """Peak resident size of a contrastive training with this batch."""
    spec = spec_of(batch_size, num_steps, micro_batch_size=micro, zero_stage=0)
    recipe = BaseExtractorRecipe(training=spec)
    torch.manual_seed(0)
    objective = BaseExtractorObjective(BaseExtractor(preset("tiny")), recipe)
    engine = TorchEngine(objective, spec, device=torch.device("cpu"))
    step = contrastive_step(recipe.max_scale)
    loss = 0.0
    for number in range(num_steps):
        outputs = step(engine, lambda part, number=number: pair_batch(number, part), 0, number)
        loss = float(outputs["loss"])
        engine.step()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result = {"peak_mib": peak, "loss": loss, "log_of_batch": float(np.log(batch_size))}
    (out / "memory.json").write_text(json.dumps(result))


def main(words: list[str]) -> None:
    """Run one measurement."""
    torch.set_num_threads(1)
    kind, out, *numbers = words
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    measurements = {"overhead": overhead, "pace": pace, "memory": memory}
    measurements[kind](folder, *map(int, numbers))


if __name__ == "__main__":
    main(sys.argv[1:])
