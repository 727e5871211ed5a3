"""Run by the tests in processes of their own: ``deepspeed_cases.py CASE FOLDER``.

Each case leaves checkpoints or a JSON result in FOLDER for the test to judge.
"""

import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from ecgtwin.training.deepspeed_engine import DeepSpeedEngine
from ecgtwin.training.engine import TorchEngine
from ecgtwin.training.loop import resume, train
from ecgtwin.training.meter import RunFacts
from ecgtwin.training.metrics import JsonLines
from ecgtwin.training.state import read_checkpoint
from tests.training.objectives_at_hand import KINDS, losses_of, prepared
from tests.training.objectives_at_hand import SPEC as TRAINING
from tests.training.toy import SPEC, Toy, batch_at, largest_difference, run_steps

FACTS = RunFacts()
STAGES = (0, 1, 2, 3)


def spec_of(stage, **changes):
    return SPEC.model_copy(update={"zero_stage": stage, **changes})


def run(engine, spec, folder, *, start_step=0, make_batch=None, **settings):
    return train(
        engine,
        make_batch or batch_at,
        spec,
        folder=folder,
        report=JsonLines(folder / "log.jsonl"),
        start_step=start_step,
        **settings,
    )


def ranks(folder):
    """Every ZeRO stage on all ranks; then a deadline that one rank alone has passed."""
    for stage in STAGES:
        spec = spec_of(stage, keep_checkpoints=9)
        engine = DeepSpeedEngine(Toy(), spec)
        run(engine, spec, folder / f"zero{stage}")
        engine.close()
    engine = DeepSpeedEngine(Toy(), SPEC)
    deadline = 0.0 if engine.rank == 1 else 1e9
    summary = run(engine, SPEC, folder / "deadline", deadline_s=deadline)
    result = [summary.step, summary.stopped]
    (folder / f"deadline-rank{engine.rank}.json").write_text(json.dumps(result))
    engine.close()


def alone(folder):
    """One process against TorchEngine, resumed against uninterrupted, then two ranks' work."""
    result = {}
    for stage in STAGES:
        spec = spec_of(stage)
        by_torch = TorchEngine(Toy(), spec, device=torch.device("cpu"))
        by_deepspeed = DeepSpeedEngine(Toy(), spec)
        losses = run_steps(by_torch, 0, 5), run_steps(by_deepspeed, 0, 5)
        middle = by_deepspeed.state()
        result[f"zero{stage}"] = {
            "losses": losses,
            "norms": [by_torch.gradient_norm(), by_deepspeed.gradient_norm()],
            "difference": largest_difference(middle, by_torch.state()),
            "resumed": resumed_difference(by_deepspeed, middle, spec),
            "not_finite": not_finite(by_deepspeed),
        }
        by_deepspeed.close()
    result["bf16"] = bf16()
    result["offload"] = {
        f"zero{stage}": offloaded(stage, what)
        for stage, what in ((1, "optimizer"), (2, "optimizer"), (3, "optimizer_and_parameters"))
    }
    result["from_ranks"] = {
        f"zero{written}-to-{read}": continued(folder, written, read)
        for written, read in ((0, 1), (1, 0), (2, 3), (3, 0))
    }
    (folder / "alone.json").write_text(json.dumps(result))


def resumed_difference(engine, middle, spec):
    """The engine goes on to step 10; a new one of another start loads ``middle`` and does too."""
    frozen = engine.objective.frozen.state_dict()
    other = Toy(seed=1)
    other.frozen.load_state_dict(frozen)
    run_steps(engine, 5, 10)
    straight = engine.state()
    second = DeepSpeedEngine(other, spec)
    second.load_state(middle)
    untouched = largest_difference(second.state(), middle)
    run_steps(second, 5, 10)
    difference = largest_difference(second.state(), straight)
    second.close()
    return [untouched, difference]


def not_finite(engine):
    """A step whose gradients are not finite: was anything changed, and does it go on after?"""
    before, updates = engine.state(), engine.num_updates
    batch = batch_at(0)
    batch["signal"][0, 0, 0] = float("nan")
    engine.backward(engine.loss(batch)["loss"])
    updated = engine.step()
    difference = largest_difference(engine.state(), before)
    counted = engine.num_updates - updates
    run_steps(engine, 10, 11)
    return {"updated": updated, "counted": counted, "difference": difference}


def bf16():
    spec = spec_of(1, precision="bf16")
    by_torch = TorchEngine(Toy(), spec, device=torch.device("cpu"))
    by_deepspeed = DeepSpeedEngine(Toy(), spec)
    run_steps(by_torch, 0, 5)
    run_steps(by_deepspeed, 0, 5)
    dtypes = {str(item.dtype) for item in by_deepspeed.parameters.values()}
    difference = largest_difference(by_deepspeed.state(), by_torch.state())
    by_deepspeed.close()
    return {"dtypes": sorted(dtypes), "difference": difference}


def offloaded(stage, what):
    """Five steps with the master weights in the memory of the CPU, then on from their state."""
    spec = spec_of(stage, offload=what)
    by_torch = TorchEngine(Toy(), SPEC, device=torch.device("cpu"))
    engine = DeepSpeedEngine(Toy(), spec)
    run_steps(by_torch, 0, 3)
    run_steps(engine, 0, 3)
    engine.load_state(engine.state())
    run_steps(by_torch, 3, 5)
    run_steps(engine, 3, 5)
    difference = largest_difference(engine.state(), by_torch.state())
    engine.close()
    return difference


def continued(folder, written, read):
    """Load two ranks' checkpoint of step 4 on one rank at another stage, and finish."""
    source = folder / f"zero{written}"
    state, step, _ = read_checkpoint(source / "step-00000004")
    engine = DeepSpeedEngine(Toy(), spec_of(read))
    engine.load_state(state)
    run_steps(engine, step, SPEC.num_steps)
    finished, _, _ = read_checkpoint(source / f"step-{SPEC.num_steps:08d}")
    difference = largest_difference(engine.state(), finished)
    engine.close()
    return difference


def endless(folder):
    """Slow steps until SIGTERM. Says on which steps it is, so that the test knows when to send."""
    spec = spec_of(1, num_steps=100_000, log_every=1, checkpoint_every=50_000)
    engine = DeepSpeedEngine(Toy(), spec)
    start = resume(engine, folder, facts=FACTS)

    def slowly(step, part):
        time.sleep(0.02 * (1 + engine.rank))
        return batch_at(step, part)

    summary = run(engine, spec, folder, start_step=start, make_batch=slowly)
    result = [summary.step, summary.stopped]
    (folder / f"ended-rank{engine.rank}.json").write_text(json.dumps(result))
    engine.close()


def agree(folder):
    """Twenty steps of each real objective at each ZeRO stage."""
    found = {}
    for kind in KINDS:
        found[kind] = {}
        for stage in STAGES:
            objective, batches, gradient_step = prepared(kind)
            spec = TRAINING.model_copy(update={"zero_stage": stage})
            engine = DeepSpeedEngine(objective, spec)
            found[kind][f"zero{stage}"] = losses_of(engine, batches, gradient_step, 0, 20)
            engine.close()
    if os.environ["RANK"] == "0":
        (folder / "agree.json").write_text(json.dumps(found))


def elastic(folder):
    """Go on with each real objective from where FOLDER is, at another ZeRO stage, to its end."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    for index, kind in enumerate(KINDS):
        objective, batches, gradient_step = prepared(kind)
        spec = TRAINING.model_copy(
            update={"zero_stage": (size + index) % 4, "keep_checkpoints": 99}
        )
        engine = DeepSpeedEngine(objective, spec)
        place = folder / kind
        start = resume(engine, place, facts=FACTS)
        train(
            engine,
            batches,
            spec,
            folder=place,
            report=JsonLines(folder / f"{kind}.jsonl"),
            start_step=start,
            gradient_step=gradient_step,
        )
        engine.close()


def bf16_average(folder):
    """Averages in bf16 training against the closed form over the master weights of each step."""
    decay, num = 0.9999, 40
    result = {}
    for stage in (2, 3):
        objective, batches, gradient_step = prepared("denoiser")
        spec = TRAINING.model_copy(
            update={
                "precision": "bf16_weights",
                "zero_stage": stage,
                "ema_decays": (decay, 0.9),
                "learning_rate": 1e-3,
                "final_learning_rate_ratio": 1.0,
            }
        )
        engine = DeepSpeedEngine(objective, spec)
        engine.load_state(replace(engine.state(), num_updates=10**6))  # long after its warm-up
        begun = engine.state()
        closed = {name: tensor.double() for name, tensor in begun.adam_first.items()}
        closed = {name: begun.weights[name].double() for name in closed}
        of_copies = {name: tensor.bfloat16() for name, tensor in closed.items()}
        for step in range(num):
            losses_of(engine, batches, gradient_step, step, step + 1)
            weights = engine.weights()
            for name in closed:
                closed[name] = decay * closed[name] + (1 - decay) * weights[name].double()
                copies = of_copies[name]
                of_copies[name] = torch.lerp(copies, weights[name].bfloat16(), 1 - decay)
        state = engine.state()
        moved = max((closed[name] - begun.weights[name]).abs().max().item() for name in closed)
        result[f"zero{stage}"] = {
            "dtypes": sorted({str(item.dtype) for item in engine.parameters.values()}),
            "weights": sorted({str(tensor.dtype) for tensor in state.weights.values()}),
            "moved": moved,
            "error": worst(state.averages["ema_0.9999"], closed),
            "error_of_copies": worst(of_copies, closed),
            "resumed": resumed_average(state, spec),
        }
        engine.close()
    if engine.rank == 0:
        (folder / "bf16.json").write_text(json.dumps(result))


def worst(tensors, closed):
    return max((tensors[name].double() - closed[name]).abs().max().item() for name in closed)


def resumed_average(state, spec):
    engine = DeepSpeedEngine(prepared("denoiser")[0], spec)
    engine.load_state(state)
    difference = largest_difference(engine.state(), state)
    engine.close()
    return difference


if __name__ == "__main__":
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    cases = (ranks, alone, endless, agree, elastic, bf16_average)
    {case.__name__: case for case in cases}[sys.argv[1]](Path(sys.argv[2]))
