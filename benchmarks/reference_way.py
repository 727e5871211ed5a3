"""Our denoiser run the published way: maps made in full, and the condition embedded in each step.

The network and its weights stay ours. Axes: B batch, F frame, D width, K token, H head.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from benchmarks.networks import Inputs
from ecgtwin.diffusion.samplers import Predict, run
from ecgtwin.models.adax import AdaXBlock, Conditioning
from ecgtwin.models.attention import SelfAttention
from ecgtwin.models.dit import DiT
from ecgtwin.models.text_encoder import TextEncoder, Vectors
from ecgtwin.spec.sampling import SamplingSpec
from ecgtwin.twin.twin import EcgTwin, Samples


@dataclass(frozen=True, slots=True)
class Way:
    """Which of the published ways a run takes; with none of them it is ours."""

    embeds_each_step: bool = False  # tokens, their norms, keys, values and the base projection
    makes_cross_maps: bool = False
    makes_self_maps: bool = False  # and averages them over heads


OURS = Way()
REFERENCE = Way(embeds_each_step=True, makes_cross_maps=True, makes_self_maps=True)
# One way at a time.
SINGLE_WAYS = {
    "embedding in each step": Way(embeds_each_step=True),
    "cross-attention maps": Way(makes_cross_maps=True),
    "self-attention maps": Way(makes_self_maps=True),
}


class MaterialisedSelfAttention(nn.Module):
    """The weights of a ``SelfAttention`` in torch's own module, called as it is by default.

    ``need_weights`` is True unless told otherwise: the maps are made, averaged over heads and here,
    as there, thrown away.
    """

    def __init__(self, ours: SelfAttention) -> None:
        super().__init__()
        if ours.rotary is not None:
            raise ValueError("torch's attention knows no rotary code on queries and keys")
        width = ours.to_out.in_features
        self.attention = nn.MultiheadAttention(
            width, ours.num_heads, batch_first=True, device="meta"
        )
        for theirs, layer in (("in_proj_", ours.to_qkv), ("out_proj.", ours.to_out)):
            owner, _, prefix = theirs.rpartition(".")
            for name, parameter in layer.named_parameters():
                self.attention.get_submodule(owner).register_parameter(prefix + name, parameter)
        self.eval()

    def forward(self, x_BFD: Tensor) -> Tensor:
        """Return (B, F, D)."""
        mixed_BFD: Tensor = self.attention(x_BFD, x_BFD, x_BFD)[0]
        return mixed_BFD


@contextmanager
def materialised(denoiser: nn.Module) -> Iterator[None]:
    """Inside the block the self-attentions of ``denoiser`` make their maps."""
    ours = [(block, block.self_attention) for block in blocks_of(denoiser)]
    try:
        for block, attention in ours:
            block.add_module("self_attention", MaterialisedSelfAttention(attention))
        yield
    finally:
        for block, attention in ours:
            block.add_module("self_attention", attention)


def blocks_of(denoiser: nn.Module) -> list[AdaXBlock]:
    """Return the AdaX blocks in the order they are run."""
    return [module for module in denoiser.modules() if isinstance(module, AdaXBlock)]


def as_made(layer: int, maps_BHFK: Tensor, token_is_real_BK: Tensor | None) -> Tensor:
    """Leave the maps as they are: an AttentionControl that only asks for them."""
    return maps_BHFK


def predictor(twin: EcgTwin, inputs: Inputs, sampling: SamplingSpec, way: Way) -> Predict:
    """Return the prediction of ``twin`` told of ``inputs``, made in ``way``."""
    if way == OURS:
        base_vectors: Samples = inputs.base_BW.cpu().numpy()
        return twin.predictor(base_vectors, inputs.conditions, sampling)
    batch = twin.condition_batch(inputs.conditions)

    def embed() -> Conditioning:
        told = twin.denoiser.embed(inputs.base_BW, batch)
        return replace(told, control=as_made) if way.makes_cross_maps else told

    if way.embeds_each_step:
        return lambda noisy, time: twin.denoiser(noisy, time, embed())
    told = embed()
    return lambda noisy, time: twin.denoiser(noisy, time, told)


@torch.no_grad()
def drawn(
    twin: EcgTwin,
    inputs: Inputs,
    sampling: SamplingSpec,
    way: Way,
    *,
    before_steps: Callable[[], None] | None = None,
) -> Tensor:
    """Return latents (B, C, F) drawn in ``way``; ``before_steps`` is called as the steps begin."""
    with materialised(twin.denoiser) if way.makes_self_maps else nullcontext():
        predict = predictor(twin, inputs, sampling, way)
        if before_steps is not None:
            before_steps()
        return run(twin.sampler(sampling), predict, inputs.noise_BCF)


class CountingEncoder:
    """A text encoder that counts how often it is asked."""

    def __init__(self, encoder: TextEncoder) -> None:
        self.identity, self.width = encoder.identity, encoder.width
        self.num_calls = 0
        self._encoder = encoder

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return vectors (len(texts), width)."""
        self.num_calls += 1
        return self._encoder.encode(texts)


def step_invariant_modules(denoiser: DiT) -> dict[str, list[nn.Module]]:
    """Return the modules whose output is the same in every step, by what they make.

    The norm of a block serves frames too; ``calls_in_steps`` counts the tokens only.
    """
    blocks = blocks_of(denoiser)
    cross = [block.cross_attention for block in blocks if block.cross_attention is not None]
    return {
        "tokens": [module for module in (denoiser.tokens,) if module is not None],
        "norms of tokens": [block.norm for block in blocks],
        "keys and values": [module.to_kv for module in cross],
        "norms of keys and values": [
            norm for module in cross for norm in (module.norm_k, module.norm_v)
        ],
        "base projection": [module for module in (denoiser.base,) if module is not None],
    }


def calls_in_steps(
    twin: EcgTwin, inputs: Inputs, sampling: SamplingSpec, way: Way
) -> dict[str, list[int]]:
    """Return how often each step-invariant module runs while the steps do; ``text`` too."""
    if not isinstance(twin.denoiser, DiT):
        raise TypeError("calls are counted of a DiT")
    kinds = step_invariant_modules(twin.denoiser)
    counts = {kind: [0] * len(modules) for kind, modules in kinds.items()}
    num_frames = twin.spec.vae.num_frames
    encoder = CountingEncoder(twin.text_encoder)
    known, twin.text_encoder = twin.text_encoder, encoder

    def hook(kind: str, place: int) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def count(module: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> None:
            is_of_frames = kind == "norms of tokens" and given[0].shape[1] == num_frames
            counts[kind][place] += not is_of_frames

        return count

    def clear() -> None:
        encoder.num_calls = 0
        for places in counts.values():
            places[:] = [0] * len(places)

    handles = [
        module.register_forward_hook(hook(kind, place))
        for kind, modules in kinds.items()
        for place, module in enumerate(modules)
    ]
    try:
        drawn(twin, inputs, sampling, way, before_steps=clear)
    finally:
        twin.text_encoder = known
        for handle in handles:
            handle.remove()
    return {**counts, "text": [encoder.num_calls]}
