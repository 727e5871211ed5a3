"""The presets: named sizes and ways of the networks."""

from ecgtwin.errors import SpecificationError
from ecgtwin.spec.model import (
    AdaXSpec,
    BaseExtractorSpec,
    DiTSpec,
    PublishedVaeSpec,
    TextSpec,
    TokenSpec,
    TwinSpec,
    UNetSpec,
    VaeSpec,
)
from ecgtwin.spec.process import DdpmSpec
from ecgtwin.spec.sampling import SamplingSpec

SAMPLING_RATE_HZ = 102.4
NOMIC_REVISION = "e9b6763023c676ca8431644204f50c2b100d9aab"  # of nomic-embed-text-v1.5

_GUIDED = SamplingSpec(num_steps=16, guidance_scale=2.0)

TINY = TwinSpec(
    preset="tiny",
    sampling_rate_hz=SAMPLING_RATE_HZ,
    # Ten guided steps: twenty evaluations an ECG.
    sampling=SamplingSpec(num_steps=10, guidance_scale=2.0),
)
# Single pathways of `tiny`; what went through the other is not told at all. A sixth layer costs
# what the absent cross-attentions and their modulation did: all three train at equal compute.
_TINY_ADAPTIVE_NORM = DiTSpec(
    num_layers=6, adax=AdaXSpec(cross_attention=False, gated_cross_attention=False)
)
_TINY_CROSS_ATTENTION = DiTSpec(adax=AdaXSpec(adaptive_norm=False))
_LOCAL = TINY.base_extractor.model_copy(update={"local_frames": 16})  # 2.5 s: some beats
_LOCAL_NO_CONDITION = _LOCAL.model_copy(update={"condition_pathway": False})
_LOCAL_TOLD_STATE = _LOCAL.model_copy(update={"age_and_sex": False})
SMALL = TwinSpec(
    preset="small",
    sampling_rate_hz=SAMPLING_RATE_HZ,
    vae=VaeSpec(stem_width=64, width=160, num_blocks=2),
    base_extractor=BaseExtractorSpec(width=160, num_layers=3, num_heads=5, base_width=160),
    denoiser=DiTSpec(width=224, num_layers=6, num_heads=7, feed_forward_ratio=3),
    sampling=_GUIDED,
)
BASE = TwinSpec(
    preset="base",
    sampling_rate_hz=SAMPLING_RATE_HZ,
    vae=VaeSpec(stem_width=96, width=256, num_blocks=3),
    text=TextSpec(width=384),
    base_extractor=BaseExtractorSpec(
        width=256, num_layers=4, num_heads=8, feed_forward_ratio=4, base_width=256
    ),
    denoiser=DiTSpec(width=384, num_layers=12, num_heads=12, feed_forward_ratio=4),
    sampling=_GUIDED,
)

# About 130 million parameters in the denoiser: one that does not fit beside its optimiser and its
# activations on a small GPU. The rest as `base`, whose latents and base vectors it takes.
BASE_LARGE = BASE.model_copy(
    update={
        "preset": "base-large",
        "denoiser": DiTSpec(width=768, num_layers=9, num_heads=12, feed_forward_ratio=4),
    }
)

_PUBLISHED_ADAX = AdaXSpec(
    cross_attention_first=False, gated_cross_attention=False, normalise_qkv=True
)
_PUBLISHED_DIT = DiTSpec(
    width=256,
    num_layers=7,
    num_heads=8,
    feed_forward_ratio=4,
    adax=_PUBLISHED_ADAX,
    tokens=TokenSpec(kind="published", patient_first=True, num_positions=25),
    rotary="embedding",
    head="plain",
    xavier_init=True,
)
PAPER = TwinSpec(
    preset="paper",
    sampling_rate_hz=SAMPLING_RATE_HZ,
    vae=PublishedVaeSpec(),
    text=TextSpec(kind="nomic", width=768, revision=NOMIC_REVISION),
    base_extractor=BaseExtractorSpec(
        width=256,
        num_layers=3,
        num_heads=8,
        feed_forward_ratio=4,
        base_width=256,
        tokens=TokenSpec(kind="published"),
        rotary="embedding",
        activation="relu",
        projection=False,
    ),
    denoiser=_PUBLISHED_DIT,
    process=DdpmSpec(first_trained_step=1, last_trained_step=998),
    sampling=SamplingSpec(sampler="ddpm", num_steps=1000, clip_sample=True),
)


def _tiny_with(name: str, **networks: BaseExtractorSpec | DiTSpec) -> TwinSpec:
    return TINY.model_copy(update={"preset": name, **networks})


def _paper_with(name: str, denoiser: DiTSpec | UNetSpec) -> TwinSpec:
    return PAPER.model_copy(update={"preset": name, "denoiser": denoiser})


def _with_pathways(**pathways: bool) -> DiTSpec:
    adax = _PUBLISHED_ADAX.model_copy(update=pathways)
    return _PUBLISHED_DIT.model_copy(update={"adax": adax})


PRESETS = {
    spec.preset: spec
    for spec in (
        TINY,
        _tiny_with("tiny-local", base_extractor=_LOCAL),
        _tiny_with("tiny-local-no-condition", base_extractor=_LOCAL_NO_CONDITION),
        _tiny_with("tiny-local-told-state", base_extractor=_LOCAL_TOLD_STATE),
        _tiny_with("tiny-adaptive-norm", denoiser=_TINY_ADAPTIVE_NORM),
        _tiny_with("tiny-cross-attention", denoiser=_TINY_CROSS_ATTENTION),
        SMALL,
        BASE,
        BASE_LARGE,
        PAPER,
        _paper_with("paper-unet", UNetSpec()),
        _paper_with("paper-adaln", _with_pathways(cross_attention=False)),
        _paper_with("paper-cross-attention", _with_pathways(adaptive_norm=False)),
    )
}


def preset(name: str) -> TwinSpec:
    """Return a preset by name; raise SpecificationError naming the known ones."""
    if name not in PRESETS:
        known = ", ".join(sorted(PRESETS))
        raise SpecificationError(f"preset {name!r} is unknown; known presets: {known}")
    return PRESETS[name]
