"""DeepSpeed's dictionary, derived from a TrainingSpec; a raw one may add to it only."""

from collections.abc import Mapping
from typing import Any

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.training import TrainingSpec

# ZeRO 3 keeps smaller parameters whole on every rank: vectors are read outside their module too.
PERSISTENT_ELEMENTS = 10_000
# Gradients that are reduced at once, as many as torch's own DistributedDataParallel takes (25 MiB
# of fp32). DeepSpeed's default would take 1.9 GiB of every rank, whatever the network.
BUCKET_ELEMENTS = 6_553_600


def deepspeed_config(
    spec: TrainingSpec, *, micro_batch: int, accumulation: int
) -> dict[str, object]:
    """Return DeepSpeed's dictionary. At stage 0 the engine clips, as DeepSpeed hides that norm.

    SpecificationError where ``spec.deepspeed`` sets what other fields of the specification decide.
    """
    derived: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": micro_batch,
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": spec.clip_norm if spec.zero_stage else 0.0,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "zero_optimization": _zero(spec),
        "torch_autocast": {
            "enabled": spec.precision == "bf16",
            "dtype": "bfloat16",
            "lower_precision_safe_modules": [],  # gradients travel as fp32
        },
        "steps_per_print": None,
    }
    if spec.precision == "bf16_weights":
        derived["bf16"] = {"enabled": True}
        derived["data_types"] = {"grad_accum_dtype": "fp32"}
        del derived["torch_autocast"]
    return _merged(derived, spec.deepspeed, ())


def _zero(spec: TrainingSpec) -> dict[str, object]:
    zero: dict[str, object] = {"stage": spec.zero_stage}
    if spec.zero_stage and not _is_bucket_given(spec):
        zero["reduce_bucket_size"] = BUCKET_ELEMENTS
    if spec.zero_stage == 3:
        zero["stage3_param_persistence_threshold"] = PERSISTENT_ELEMENTS
    if spec.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu"}
    if spec.offload == "optimizer_and_parameters":
        zero["offload_param"] = {"device": "cpu"}
    return zero


def _is_bucket_given(spec: TrainingSpec) -> bool:
    given = spec.deepspeed.get("zero_optimization")
    return isinstance(given, Mapping) and "reduce_bucket_size" in given


# What the specification decides by leaving a key of DeepSpeed's out, and the field that does.
_OWNED = {
    "train_batch_size": "batch_size",
    "optimizer": "learning_rate, betas and weight_decay",
    "scheduler": "warmup_steps and num_steps",
    "bf16": "precision",
    "fp16": "precision",
    "amp": "precision",
    "data_types": "precision",
    "zero_optimization.offload_optimizer": "offload",
    "zero_optimization.offload_param": "offload",
}


def _merged(
    derived: Mapping[str, Any], raw: Mapping[str, Any], path: tuple[str, ...]
) -> dict[str, Any]:
    merged = dict(derived)
    for key, value in raw.items():
        name = ".".join((*path, key))
        there = derived.get(key)
        if isinstance(there, Mapping) and isinstance(value, Mapping):
            merged[key] = _merged(there, value, (*path, key))
        elif key in derived and there != value:
            raise SpecificationError(
                f"training.deepspeed.{name}: {value!r} contradicts {there!r}, which follows from "
                "the other fields of the specification; change those, or leave it out"
            )
        elif key not in derived and name in _OWNED:
            raise SpecificationError(
                f"training.deepspeed.{name}: is decided by {_OWNED[name]}; set that, and leave "
                "this out"
            )
        else:
            merged[key] = value
    return merged
