"""UNet: a denoiser with AdaX at every scale of a convolutional U-Net, as published.

Axes: B batch, C latent channel, F frame, K token, D width, E time code, W base width.
"""

import torch
from torch import Tensor, nn

from ecgtwin.errors import SpecificationError
from ecgtwin.models.adax import AdaXBlock, Conditioning, run_block
from ecgtwin.models.attention import KeysValues
from ecgtwin.models.condition_tokens import ConditionBatch, token_embedding
from ecgtwin.models.embeddings import STEPS_PER_TIME, time_code
from ecgtwin.spec.model import TwinSpec, UNetSpec

TIME_WIDTH = 256  # of the sinusoidal code that every stage reads


class StageAdaX(nn.Module):
    """An AdaX block among convolutions, with layers of its own for time, person and condition."""

    def __init__(
        self,
        spec: TwinSpec,
        sizes: UNetSpec,
        width: int,
        *,
        level: int,
        num_heads: int,
        feed_forward_width: int,
    ) -> None:
        super().__init__()
        adax, base_width = sizes.adax, spec.base_extractor.base_width
        self.time = nn.Sequential(nn.Linear(TIME_WIDTH, width), nn.SiLU(), nn.Linear(width, width))
        self.base = nn.Linear(base_width, width) if adax.adaptive_norm else None
        self.tokens = (
            token_embedding(sizes.tokens, spec.text.width, width) if adax.cross_attention else None
        )
        self.block = AdaXBlock(
            width,
            num_heads,
            spec.vae.num_frames >> level,
            feed_forward_width,
            adax,
            rotary=False,
        )

    def keys_values(
        self, conditions: ConditionBatch, is_told_B: Tensor | None
    ) -> tuple[KeysValues, Tensor]:
        """Return this stage's keys and values, and which tokens are real (B, K)."""
        if self.tokens is None:
            raise ValueError("this stage has no cross-attention pathway")
        tokens_BKD, is_real_BK = self.tokens(conditions, is_told_B)
        return self.block.keys_values(tokens_BKD), is_real_BK

    def forward(
        self, x_BDF: Tensor, code_BE: Tensor, conditioning: Conditioning, layer: int
    ) -> Tensor:
        """Return (B, D, F); ``layer`` says which entries of ``conditioning`` are this stage's."""
        context_BD = self.time(code_BE)
        if conditioning.base:
            context_BD = context_BD + conditioning.base[layer]
        out: Tensor = self.block(x_BDF.transpose(1, 2), context_BD, *conditioning.told(layer))
        return out.transpose(1, 2)


class Stage(nn.Module):
    """Convolutions, AdaX, convolutions, and a skip around them."""

    def __init__(
        self, enter: nn.Sequential, adax: StageAdaX, leave: nn.Module, skip: nn.Module
    ) -> None:
        super().__init__()
        self.enter = enter
        self.adax = adax
        self.leave = leave
        self.skip = skip

    def forward(
        self, x_BDF: Tensor, code_BE: Tensor, conditioning: Conditioning, layer: int
    ) -> Tensor:
        """Return (B, D', F)."""
        changed = self.leave(self.adax(self.enter(x_BDF), code_BE, conditioning, layer))
        out: Tensor = changed + self.skip(x_BDF)
        return out


class UNet(nn.Module):
    """``(noisy latent, time, Conditioning) -> prediction``, with both pathways of AdaX.

    The first of every tuple in a ``Conditioning`` belongs to the first stage on the way down, the
    last to the last on the way up. The width doubles and the frames halve from level to level.
    With ``activation_checkpointing``, which training sets, a stage keeps its inputs alone for the
    backward pass.
    """

    activation_checkpointing = False

    def __init__(self, spec: TwinSpec) -> None:
        super().__init__()
        sizes, channels = spec.denoiser, spec.vae.latent_channels
        if not isinstance(sizes, UNetSpec):
            raise TypeError(f"a specification of kind {sizes.kind!r} is not one of a U-Net")
        _check_sizes(sizes, channels=channels, num_frames=spec.vae.num_frames)
        self.steps_per_time = STEPS_PER_TIME[spec.process.kind]
        widths = [channels << level for level in range(sizes.num_levels)]
        self.down = nn.ModuleList(
            _stage(spec, sizes, level, width, 2 * width) for level, width in enumerate(widths[:-1])
        )
        self.shrink = nn.ModuleList(
            nn.Conv1d(width, width, 3, stride=2, padding=1) for width in widths[1:]
        )
        self.bottleneck = _bottleneck(spec, sizes, widths[-1])
        self.grow = nn.ModuleList(
            nn.ConvTranspose1d(width, width, 4, stride=2, padding=1) for width in widths[:0:-1]
        )
        # All but the innermost meet what left the same level on the way down.
        entering = [*(2 * width for width in widths[1:-1]), widths[-1]]
        self.up = nn.ModuleList(
            _stage(spec, sizes, level, entering[level], widths[level])
            for level in reversed(range(sizes.num_levels - 1))
        )
        self.head = nn.Sequential(
            nn.Conv1d(channels, channels, 3, padding=1), nn.Mish(), nn.Conv1d(channels, channels, 1)
        )

    def embed(
        self,
        base_BW: Tensor,
        conditions: ConditionBatch,
        *,
        has_base_B: Tensor | None = None,
        is_told_B: Tensor | None = None,
    ) -> Conditioning:
        """Embed person and condition once. Rows that are False lose that pathway's content.

        SpecificationError where the networks cannot do without a condition and a row is to.
        """
        if has_base_B is not None:
            base_BW = base_BW * has_base_B[:, None]
        sites = self._sites()
        base = tuple(site.base(base_BW) for site in sites if site.base is not None)
        told = [
            site.keys_values(conditions, is_told_B) for site in sites if site.tokens is not None
        ]
        return Conditioning(
            base,
            tuple(keys_values for keys_values, _ in told),
            told[0][1] if told else None,
        )

    def _sites(self) -> list[StageAdaX]:
        stages = (*self.down, self.bottleneck, *self.up)
        return [stage.adax for stage in stages if isinstance(stage, Stage)]

    def forward(self, noisy_BCF: Tensor, time_B: Tensor, conditioning: Conditioning) -> Tensor:
        """Return the prediction (B, C, F).

        ``time_B`` is in [0, 1] for a flow, a step from 0 for a Markov chain.
        """
        code_BE = time_code(time_B, TIME_WIDTH, steps_per_time=self.steps_per_time)
        x_BDF, passed = noisy_BCF, []
        for layer, (stage, shrink) in enumerate(zip(self.down, self.shrink, strict=True)):
            left_BDF = self._run(stage, x_BDF, code_BE, conditioning, layer)
            passed.append(left_BDF)
            x_BDF = shrink(left_BDF)
        depth = len(self.down)
        x_BDF = self._run(self.bottleneck, x_BDF, code_BE, conditioning, depth)
        for layer, (stage, grow) in enumerate(zip(self.up, self.grow, strict=True), depth + 1):
            beside_BDF = passed.pop()
            x_BDF = grow(x_BDF)
            if layer > depth + 1:  # the innermost way up takes nothing from beside it
                x_BDF = torch.cat([x_BDF, beside_BDF], dim=1)
            x_BDF = self._run(stage, x_BDF, code_BE, conditioning, layer)
        out: Tensor = self.head(x_BDF)
        return out

    def _run(self, stage: nn.Module, *given: object) -> Tensor:
        return run_block(stage, *given, keep_inputs_only=self.activation_checkpointing)


def _stage(spec: TwinSpec, sizes: UNetSpec, level: int, entering: int, leaving: int) -> Stage:
    hidden, kernel = 2 * entering, sizes.kernel_size
    adax = StageAdaX(
        spec,
        sizes,
        hidden,
        level=level,
        num_heads=sizes.num_heads,
        feed_forward_width=sizes.feed_forward_ratio * hidden,
    )
    return Stage(
        nn.Sequential(
            _conv(entering, hidden, kernel), *_normal(hidden), nn.Conv1d(hidden, hidden, 1)
        ),
        adax,
        nn.Sequential(_conv(hidden, leaving, kernel), nn.Mish()),
        nn.Conv1d(entering, leaving, 1),
    )


def _bottleneck(spec: TwinSpec, sizes: UNetSpec, width: int) -> Stage:
    kernel = sizes.kernel_size
    adax = StageAdaX(
        spec,
        sizes,
        width,
        level=sizes.num_levels - 1,
        num_heads=sizes.bottleneck_heads,
        feed_forward_width=sizes.bottleneck_feed_forward_width,
    )
    return Stage(
        nn.Sequential(_conv(width, width, kernel), *_normal(width), _conv(width, width, kernel)),
        adax,
        nn.Mish(),
        nn.Identity(),
    )


def _conv(entering: int, leaving: int, kernel: int) -> nn.Conv1d:
    return nn.Conv1d(entering, leaving, kernel, padding=kernel // 2)


def _normal(width: int) -> tuple[nn.GroupNorm, nn.Mish]:
    return nn.GroupNorm(1, width), nn.Mish()


def _check_sizes(sizes: UNetSpec, *, channels: int, num_frames: int) -> None:
    halvings = sizes.num_levels - 1
    if num_frames % 2**halvings:
        raise SpecificationError(
            f"{num_frames} latent frames cannot be halved {halvings} times; num_levels "
            f"{sizes.num_levels} needs a multiple of {2**halvings}"
        )
    for name, width, num_heads in (
        ("num_heads", 2 * channels, sizes.num_heads),
        ("bottleneck_heads", channels << halvings, sizes.bottleneck_heads),
    ):
        if width % num_heads:
            raise SpecificationError(
                f"{name} {num_heads} does not divide the width {width} that {channels} latent "
                "channels lead to; choose a divisor"
            )
    if sizes.kernel_size % 2 == 0:
        raise SpecificationError(
            f"kernel_size {sizes.kernel_size} is even and would shift the frames; choose an odd one"
        )
