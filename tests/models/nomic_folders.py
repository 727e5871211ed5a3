"""Folders like a download of the nomic text encoder: random weights, a small vocabulary."""

import hashlib
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

WORDS = [
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "sinus", "rhythm", "atrial", "fibrill"),
    *("##ation", "normal", "ecg", "left", "bundle", "branch", "block", "possible", "no"),
    *("search", "_", "query", ":", "st", "elev"),
]
VOCABULARY = {word: number for number, word in enumerate(WORDS)}
HIDDEN = 24
DOWNLOADED = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
# How the published file names a layer's tensors, beside the native names.
PUBLISHED_NAMES = {
    "embeddings.LayerNorm": "emb_ln",
    "self_attn.o_proj": "attn.out_proj",
    "mlp.up_proj": "mlp.fc11",
    "mlp.gate_proj": "mlp.fc12",
    "mlp.down_proj": "mlp.fc2",
    "post_attention_layernorm": "norm1",
    "post_mlp_layernorm": "norm2",
}


def random_model(*, hidden: int = HIDDEN) -> torch.nn.Module:
    """Return the same small model every time, in its native form."""
    from transformers import NomicBertConfig, NomicBertModel

    config = NomicBertConfig(
        vocab_size=len(WORDS),
        hidden_size=hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=32,
    )
    model = NomicBertModel(config).eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def write_nomic(folder: Path, *, hidden: int = HIDDEN) -> Path:
    """Write the small model as the published folder has it, with code that must not be run."""
    from transformers import BertTokenizer

    model = random_model(hidden=hidden)
    BertTokenizer(vocab=VOCABULARY).save_pretrained(folder)
    save_file(
        published_names(model.state_dict()),
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )
    config = json.loads(model.config.to_json_string(use_diff=False))
    config["auto_map"] = {"AutoModel": "trap.Model", "AutoConfig": "trap.Config"}
    config |= {"activation_function": "swiglu", "prenorm": False, "rotary_emb_base": 1000}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "trap.py").write_text("raise SystemExit('code of the folder was run')\n")
    return folder


def published_names(native: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors as the published file holds them: other names, q, k and v as one."""
    renamed = {}
    for name, tensor in native.items():
        if ".k_proj" in name or ".v_proj" in name:
            continue
        target, value = name, tensor
        if ".q_proj" in name:
            three = [
                native[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")
            ]
            target, value = name.replace("self_attn.q_proj", "attn.Wqkv"), torch.cat(three)
        for ours, theirs in PUBLISHED_NAMES.items():
            target = target.replace(ours, theirs)
        renamed["encoder." * target.startswith("layers.") + target] = value
    return renamed


def note_download(folder: Path, revision: str) -> Path:
    """Write the notes that the hub's client leaves beside a download of ``revision``."""
    notes = folder / ".cache" / "huggingface" / "download"
    notes.mkdir(parents=True)
    for name in DOWNLOADED:
        data = (folder / name).read_bytes()
        if name.endswith(".safetensors"):
            etag = hashlib.sha256(data).hexdigest()
        else:
            etag = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        (notes / f"{name}.metadata").write_text(f"{revision}\n{etag}\n1700000000.0\n")
    return folder


def as_hub_cache(folder: Path, cache: Path, revision: str) -> Path:
    """Return a snapshot of ``folder`` laid out as in the hub's cache: links to named blobs."""
    snapshot, blobs = cache / "snapshots" / revision, cache / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for name in DOWNLOADED:
        data = (folder / name).read_bytes()
        blob = blobs / hashlib.sha256(data).hexdigest()
        blob.write_bytes(data)
        (snapshot / name).symlink_to(blob)
    return snapshot
