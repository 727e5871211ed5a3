"""The networks of a twin: their kinds, their sizes, and each mend of the published ones by name.

Where the published system (Lai et al. 2025, arXiv 2508.02720) and ours differ, a field says which
way is taken; the defaults are ours, ``spec.presets`` sets the published values.
"""

from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

from ecgtwin.spec.base import Spec, branch
from ecgtwin.spec.process import FlowSpec, Process
from ecgtwin.spec.sampling import PROCESS_OF, SamplingSpec

EIGHT_LEADS = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")
# The published weights have aVF before aVL, as the headers of MIMIC-IV-ECG do.
PUBLISHED_LEADS = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")

Rotary = Literal["queries_and_keys", "embedding"]  # published: once, on the embedding


class VaeSpec(Spec):
    """ECG (lead, time) to latent (channel, frame): two strided stages with residual blocks."""

    kind: Literal["strided"] = "strided"
    num_leads: int = 8
    num_samples: int = 1024
    num_frames: int = 64
    latent_channels: int = 16
    stem_width: int = 48
    width: int = 128
    num_blocks: int = 2
    kernel_size: int = 5

    @property
    def lead_order(self) -> tuple[str, ...]:
        """The leads in the order of the network's channels."""
        return EIGHT_LEADS

    @model_validator(mode="after")
    def _strides_fit(self) -> "VaeSpec":
        if self.num_samples != self.num_frames * 16:
            raise ValueError("num_samples must be 16 times num_frames: two strides of four")
        return self


class PublishedVaeSpec(Spec):
    """The published VAE: twelve leads of 1024 samples to four channels of 128 frames."""

    kind: Literal["published"] = "published"
    num_leads: Literal[12] = 12
    num_samples: Literal[1024] = 1024
    num_frames: Literal[128] = 128
    latent_channels: Literal[4] = 4
    latent_factor: float = 0.18215  # what the published latents are multiplied by

    @property
    def lead_order(self) -> tuple[str, ...]:
        """The leads in the order of the network's channels."""
        return PUBLISHED_LEADS


class TextSpec(Spec):
    """How a statement becomes a vector. ``hashed`` downloads nothing; ``nomic`` is an extra."""

    kind: Literal["hashed", "nomic"] = "hashed"
    width: int = Field(default=192, ge=1, le=768)
    revision: str | None = None  # of the nomic weights
    prefix: str = ""  # put before each statement; the published embeddings have none

    @model_validator(mode="after")
    def _hashed_is_plain(self) -> "TextSpec":
        if self.kind == "hashed" and (self.revision is not None or self.prefix):
            raise ValueError("revision and prefix are of the nomic encoder; leave them out")
        return self


class TokenSpec(Spec):
    """A statement and the patient's rate, age and sex to one condition token.

    ``flagged``: unknown values have flags, the rate enters as its period, order means nothing.
    ``published``: standardised rate and age and a binary sex stand beside the text in one vector,
    through one linear layer; a learnt table may add the token's place.
    """

    kind: Literal["flagged", "published"] = "flagged"
    patient_first: bool = False  # published only: [patient ; text] instead of [text ; patient]
    num_positions: int = Field(default=0, ge=0)  # published only: rows of the table, 0 for none


class BaseExtractorSpec(Spec):
    """Reference latent and its own condition to the individual base vector.

    Without the condition pathway the condition is not looked at (an ablation): no token embedding,
    no cross-attention. Without ``age_and_sex`` the pathway is told statements and rate alone: age
    and sex are of the person, and an extractor that is told them needs no ECG to tell most people
    apart.

    With ``local_frames`` frames attend to those of their own window of so many: the base vector is
    of the mean over windows, and an extractor trained on windows (``crop_frames`` of a recipe)
    knows whole strips too.
    """

    width: int = 128
    num_layers: int = 3
    num_heads: int = 4
    feed_forward_ratio: int = 2
    base_width: int = 128
    tokens: TokenSpec = TokenSpec()
    rotary: Rotary = "queries_and_keys"
    activation: Literal["gelu", "relu"] = "gelu"
    projection: bool = True  # a norm, a linear layer and a fixed length; published: the plain mean
    reference_mask: bool = False  # published fault: the 1/0 mask is *added* to attention logits
    condition_pathway: bool = True
    age_and_sex: bool = True  # published: told
    local_frames: int | None = Field(default=None, ge=1)  # published: the whole strip

    @model_serializer(mode="wrap")
    def _as_before_the_switches(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what is as it was before it could be set: digests made then stay."""
        before = {"condition_pathway": True, "age_and_sex": True, "local_frames": None}
        fields: dict[str, Any] = dump(self)
        return {
            name: value
            for name, value in fields.items()
            if name not in before or value is not before[name]
        }

    @model_validator(mode="after")
    def _pathway_is_there(self) -> "BaseExtractorSpec":
        if self.reference_mask and not self.condition_pathway:
            raise ValueError("reference_mask is of the condition pathway, which is off")
        if self.tokens.kind == "published" and not self.age_and_sex:
            raise ValueError("published tokens have no input for an unknown age; leave it on")
        return self

    @model_validator(mode="after")
    def _mean_is_base(self) -> "BaseExtractorSpec":
        if not self.projection and self.base_width != self.width:
            raise ValueError(
                f"without a projection the base vector is as wide as the network: base_width must "
                f"be {self.width}, not {self.base_width}"
            )
        return self


class AdaXSpec(Spec):
    """The two conditioning pathways of a block; either may be absent (an ablation)."""

    adaptive_norm: bool = True
    cross_attention: bool = True
    cross_attention_first: bool = True  # published: after the self-attention
    gated_cross_attention: bool = True  # modulated and gated like the rest; published: neither
    normalise_cross_input: bool = True  # the stream, tokens always; published U-Net: not
    normalise_qkv: bool = False  # published: an affine LayerNorm on queries, keys and values
    zero_init: bool = True  # of the modulation; published U-Net: not


class DiTSpec(Spec):
    """A transformer over latent frames."""

    kind: Literal["dit"] = "dit"
    width: int = 128
    num_layers: int = 5
    num_heads: int = 4
    feed_forward_ratio: int = 3
    adax: AdaXSpec = AdaXSpec()
    tokens: TokenSpec = TokenSpec()
    rotary: Rotary = "queries_and_keys"
    head: Literal["modulated", "plain"] = "modulated"  # plain: no norm, no modulation, no zero
    xavier_init: bool = False  # published: of every linear layer, with zero biases


class UNetSpec(Spec):
    """The published second backbone: AdaX at every scale of a convolutional U-Net."""

    kind: Literal["unet"] = "unet"
    num_levels: int = Field(default=6, ge=2)
    kernel_size: int = 7
    num_heads: int = 8
    bottleneck_heads: int = 4
    feed_forward_ratio: int = 4
    bottleneck_feed_forward_width: int = 32
    adax: AdaXSpec = AdaXSpec(
        cross_attention_first=False,
        gated_cross_attention=False,
        normalise_cross_input=False,
        normalise_qkv=True,
        zero_init=False,
    )
    tokens: TokenSpec = TokenSpec(kind="published", num_positions=100)


def _kind(value: Any, default: str) -> str:  # noqa: ANN401  (a raw mapping or a specification)
    kind = value.get("kind", default) if isinstance(value, dict) else getattr(value, "kind", "")
    return branch(str(kind))


def _vae_kind(value: Any) -> str:  # noqa: ANN401
    return _kind(value, "strided")


def _denoiser_kind(value: Any) -> str:  # noqa: ANN401
    return _kind(value, "dit")


AnyVaeSpec = Annotated[
    Annotated[VaeSpec, Tag(branch("strided"))]
    | Annotated[PublishedVaeSpec, Tag(branch("published"))],
    Discriminator(_vae_kind),
]
AnyDenoiserSpec = Annotated[
    Annotated[DiTSpec, Tag(branch("dit"))] | Annotated[UNetSpec, Tag(branch("unet"))],
    Discriminator(_denoiser_kind),
]


class TwinSpec(Spec):
    """Everything needed to build the networks of one twin."""

    preset: str
    sampling_rate_hz: float = Field(gt=0)
    vae: AnyVaeSpec = VaeSpec()
    text: TextSpec = TextSpec()
    base_extractor: BaseExtractorSpec = BaseExtractorSpec()
    denoiser: AnyDenoiserSpec = DiTSpec()
    process: Process = FlowSpec()
    sampling: SamplingSpec = SamplingSpec()  # what a cohort is drawn with unless it says otherwise

    @model_validator(mode="after")
    def _strip_is_of_whole_windows(self) -> "TwinSpec":
        window = self.base_extractor.local_frames
        if window is not None and self.vae.num_frames % window:
            raise ValueError(
                f"base_extractor.local_frames {window} does not divide the {self.vae.num_frames} "
                f"frames of a latent"
            )
        return self

    @model_validator(mode="after")
    def _sampler_follows_process(self) -> "TwinSpec":
        if PROCESS_OF[self.sampling.sampler] != self.process.kind:
            raise ValueError(
                f"sampling.sampler {self.sampling.sampler!r} does not follow the process "
                f"{self.process.kind!r}"
            )
        return self
