"""Where each tensor of the published state dicts goes: one table per network (see KeyTable).

``#`` stands for a number, ``*`` for the last word of a name.
"""

from ecgtwin.twin.key_table import KeyTable, Row


def _residual_blocks(part: str) -> tuple[Row, ...]:
    return (
        (f"{part}.#.groupnorm_1.*", f"{part}.#.norm_1.*"),
        (f"{part}.#.conv_1.*", f"{part}.#.conv_1.*"),
        (f"{part}.#.groupnorm_2.*", f"{part}.#.norm_2.*"),
        (f"{part}.#.conv_2.*", f"{part}.#.conv_2.*"),
        (f"{part}.#.residual_layer.*", f"{part}.#.skip.*"),
        (f"{part}.#.groupnorm.*", f"{part}.#.norm.*"),
        (f"{part}.#.attention.in_proj.*", f"{part}.#.to_qkv.*"),
        (f"{part}.#.attention.out_proj.*", f"{part}.#.to_out.*"),
    )


# The file holds two state dicts; "encoder." and "decoder." are put before their names.
VAE = KeyTable(
    rows=(
        *_residual_blocks("encoder"),
        *((f"encoder.{index}.*", f"encoder.{index}.*") for index in (0, 15, 17, 18)),
        *((f"encoder.{index}.*", f"encoder.{index}.conv.*") for index in (3, 6, 9)),
        *_residual_blocks("decoder"),
        ("decoder.#.*", "decoder.#.*"),
    ),
    only_ours=("latent_mean_C1", "latent_scale_C1"),
)

BASE_EXTRACTOR = KeyTable(
    rows=(
        ("logit_scale", "log_scale"),
        ("classfree_emb", "tokens.null_token"),
        ("signal_embedding.*", "enter.*"),
        ("text_projector.*", "tokens.enter.*"),
        ("layers.#.self_attn.in_proj_*", "layers.#.self_attention.to_qkv.*"),
        ("layers.#.self_attn.out_proj.*", "layers.#.self_attention.to_out.*"),
        (
            "layers.#.cross_attn.in_proj_*",
            ("layers.#.cross_attention.to_q.*", "layers.#.cross_attention.to_kv.*"),
        ),
        ("layers.#.cross_attn.out_proj.*", "layers.#.cross_attention.to_out.*"),
        ("layers.#.feed_forward.fc1.*", "layers.#.feed_forward.0.*"),
        ("layers.#.feed_forward.fc2.*", "layers.#.feed_forward.2.*"),
        ("layers.#.layer_norm1.*", "layers.#.norms.0.*"),
        ("layers.#.condition_norm.*", "layers.#.norms.1.*"),
        ("layers.#.layer_norm2.*", "layers.#.norms.2.*"),
        ("layers.#.layer_norm3.*", "layers.#.norms.3.*"),
    ),
    no_axis=("logit_scale",),
)

DIT = KeyTable(
    rows=(
        ("x_embedder.*", "enter.*"),
        ("t_embedder.mlp.#.*", "time.#.*"),
        ("text_projector.*", "tokens.enter.*"),
        ("c_pos_embed.pos_encoding", "tokens.positions"),
        ("ib_projector.*", "base.*"),
        ("blocks.#.attn1.in_proj_*", "blocks.#.self_attention.to_qkv.*"),
        ("blocks.#.attn1.out_proj.*", "blocks.#.self_attention.to_out.*"),
        ("blocks.#.attn2.q_proj.*", "blocks.#.cross_attention.to_q.*"),
        ("blocks.#.attn2.kv_proj.*", "blocks.#.cross_attention.to_kv.*"),
        ("blocks.#.attn2.out_proj.*", "blocks.#.cross_attention.to_out.*"),
        ("blocks.#.attn2.q_norm.*", "blocks.#.cross_attention.norm_q.*"),
        ("blocks.#.attn2.k_norm.*", "blocks.#.cross_attention.norm_k.*"),
        ("blocks.#.attn2.v_norm.*", "blocks.#.cross_attention.norm_v.*"),
        ("blocks.#.mlp.#.*", "blocks.#.feed_forward.#.*"),
        ("blocks.#.adaLN_modulation.#.*", "blocks.#.modulation.#.*"),
        ("final_layer.*", "head.*"),
    ),
)


def _adax(theirs: str, ours: str) -> tuple[Row, ...]:
    """Rows of what every block of the U-Net has to itself: time, person, tokens, AdaX."""
    block = f"{ours}.adax.block"
    return (
        (f"{theirs}.time_emb.mlp.#.*", f"{ours}.adax.time.#.*"),
        (f"{theirs}.ib_projector.*", f"{ours}.adax.base.*"),
        (f"{theirs}.text_projector.*", f"{ours}.adax.tokens.enter.*"),
        (f"{theirs}.c_pos_emb.pos_encoding", f"{ours}.adax.tokens.positions"),
        (f"{theirs}.attn.in_proj_*", f"{block}.self_attention.to_qkv.*"),
        (f"{theirs}.attn.out_proj.*", f"{block}.self_attention.to_out.*"),
        (f"{theirs}.c_attn.q_proj.*", f"{block}.cross_attention.to_q.*"),
        (f"{theirs}.c_attn.kv_proj.*", f"{block}.cross_attention.to_kv.*"),
        (f"{theirs}.c_attn.out_proj.*", f"{block}.cross_attention.to_out.*"),
        (f"{theirs}.c_attn.q_norm.*", f"{block}.cross_attention.norm_q.*"),
        (f"{theirs}.c_attn.k_norm.*", f"{block}.cross_attention.norm_k.*"),
        (f"{theirs}.c_attn.v_norm.*", f"{block}.cross_attention.norm_v.*"),
        (f"{theirs}.mlp.#.*", f"{block}.feed_forward.#.*"),
        (f"{theirs}.adaLN_modulation.#.*", f"{block}.modulation.#.*"),
    )


def _scale(theirs: str, ours: str) -> tuple[Row, ...]:
    """Rows of one block on the way down or up."""
    return (
        (f"{theirs}.pre_shortcut_convs.*", f"{ours}.enter.0.*"),
        (f"{theirs}.norm1.*", f"{ours}.enter.1.*"),
        (f"{theirs}.shortcut_convs.*", f"{ours}.enter.3.*"),
        (f"{theirs}.post_shortcut_convs.*", f"{ours}.leave.0.*"),
        (f"{theirs}.res_conv.*", f"{ours}.skip.*"),
        *_adax(theirs, ours),
    )


UNET = KeyTable(
    rows=(
        *_scale("downsampling_blocks.#.block", "down.#"),
        ("downsampling_blocks.#.down.*", "shrink.#.*"),
        *_scale("upsampling_blocks.#.block", "up.#"),
        ("upsampling_blocks.#.up.*", "grow.#.*"),
        *_adax("bottelneck", "bottleneck"),  # their spelling
        ("bottelneck.bottleneck_conv1.*", "bottleneck.enter.0.*"),
        ("bottelneck.bottleneck_norm1.*", "bottleneck.enter.1.*"),
        ("bottelneck.bottleneck_conv2.*", "bottleneck.enter.3.*"),
        ("output_conv.#.*", "head.#.*"),
    ),
)

_TRUNK: tuple[Row, ...] = (
    ("resnet.first_conv.conv.*", "trunk.stem.conv.*"),
    ("resnet.first_bn.*", "trunk.stem_norm.*"),
    *(
        (f"resnet.stage_list.#.block_list.#.{theirs}.*", f"trunk.stages.#.#.{ours}.*")
        for theirs, ours in (
            ("bn1", "norm_1"),
            ("conv1.conv", "conv_1"),
            ("bn2", "norm_2"),
            ("conv2.conv", "conv_2.conv"),
            ("bn3", "norm_3"),
            ("conv3.conv", "conv_3"),
            ("se_fc1", "squeeze_excitation.squeeze"),
            ("se_fc2", "squeeze_excitation.excite"),
        )
    ),
)

CLIP = KeyTable(
    rows=(
        *_TRUNK,
        ("logit_scale", "logit_scale"),
        ("ecg_projector.*", "ecg_projector.*"),
        ("text_projector.linear_#.*", "text_projector.linear_#.*"),
    ),
    no_axis=("logit_scale",),
)

CLASSIFIER = KeyTable(rows=(*_TRUNK, ("head.*", "head.*")))
