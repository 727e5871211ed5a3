"""nomic-embed-text-v1.5 through the native model of ``transformers``, an optional library.

No code from the hub is run. The folder that holds the weights says by its content what it is.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch.nn import functional

from ecgtwin.errors import EncoderError
from ecgtwin.models.text_encoder import Vectors, nomic_identity
from ecgtwin.spec.model import TextSpec
from ecgtwin.spec.presets import NOMIC_REVISION

MODEL = "nomic-ai/nomic-embed-text-v1.5"
MODEL_TYPE = "nomic_bert"
FOLDER_VARIABLE = "ECGTWIN_NOMIC"
FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
DIGEST_MARK = "digest-"


class NomicEncoder:
    """The model, its tokenizer, and how many of its numbers are used."""

    def __init__(
        self,
        model: Any,  # noqa: ANN401  (a class of the optional library)
        tokenizer: Any,  # noqa: ANN401
        *,
        revision: str,
        width: int,
        prefix: str,
    ) -> None:
        self.width, self.prefix = width, prefix
        self.identity = nomic_identity(revision, width=width, prefix=prefix)
        self._model, self._tokenizer = model, tokenizer

    @classmethod
    def load(cls, spec: TextSpec, *, folder: str | Path | None = None) -> Self:
        """Load what is in ``folder``, or in the folder ECGTWIN_NOMIC names, or else on the hub.

        Raises EncoderError where the library or the weights are missing or of another kind.
        """
        _check_library()
        given = folder or os.environ.get(FOLDER_VARIABLE)
        place = Path(given) if given else _fetch(spec.revision or NOMIC_REVISION)
        _check_folder(place, width=spec.width)
        model, tokenizer = _read(place)
        return cls(
            model,
            tokenizer,
            revision=revision_of(place),
            width=spec.width,
            prefix=spec.prefix,
        )

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Return unit vectors (len(texts), width).

        Texts are embedded one at a time, so that a vector is a function of its text alone, to the
        last bit: neither padding nor batch mates have a part in it.
        """
        vectors = np.empty((len(texts), self.width), dtype=np.float32)
        for row, text in enumerate(texts):
            vectors[row] = self._embed(self.prefix + text)
        return vectors

    @torch.no_grad()
    def _embed(self, text: str) -> Vectors:
        words = self._tokenizer(text, return_tensors="pt")
        hidden_KD = self._model(
            input_ids=words["input_ids"], attention_mask=words["attention_mask"]
        ).last_hidden_state[0]
        mean_D = hidden_KD.mean(dim=0)
        even_D = functional.layer_norm(mean_D, mean_D.shape)
        unit: Vectors = functional.normalize(even_D[: self.width], dim=0).numpy()
        return unit


def revision_of(folder: Path) -> str:
    """Return the hub revision that ``folder`` was downloaded from, or ``digest-`` and a digest.

    The hub's client notes a revision and a hash beside every file. The revision is believed only
    where each of FILES still has its hash and all name one revision.
    """
    names = [name for name in FILES if (folder / name).is_file()]
    notes = {name: _hub_note(folder, name) for name in names}
    revisions = {note[0] for note in notes.values() if note is not None}
    is_untouched = all(
        note is not None and _hub_hash(folder / name, note[1]) == note[1]
        for name, note in notes.items()
    )
    if is_untouched and len(revisions) == 1:
        return revisions.pop()
    digest = hashlib.blake2b(digest_size=16)
    for name in names:
        digest.update(f"{name}:{_file_hash(folder / name, 'sha256')};".encode())
    return DIGEST_MARK + digest.hexdigest()


def _hub_note(folder: Path, name: str) -> tuple[str, str] | None:
    """Return (revision, hash): from the note of a download, or the links of the hub's cache."""
    path = folder / name
    try:
        lines = (folder / ".cache/huggingface/download" / f"{name}.metadata").read_text().split()
    except OSError:
        is_cached = path.is_symlink() and folder.parent.name == "snapshots"
        return (folder.name, path.resolve().name) if is_cached else None
    return (lines[0], lines[1]) if len(lines) >= 2 else None


def _hub_hash(path: Path, expected: str) -> str:
    """Return the hash of the kind of ``expected``: SHA-256 of large files, git's of small ones."""
    if len(expected) == 64:
        return _file_hash(path, "sha256")
    return _file_hash(path, "sha1", start=f"blob {path.stat().st_size}\0".encode())


def _file_hash(path: Path, kind: str, *, start: bytes = b"") -> str:
    found = hashlib.new(kind, start)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def _check_library() -> None:
    try:
        from transformers import NomicBertModel  # noqa: F401
    except ImportError as error:
        raise EncoderError(
            f"the nomic text encoder needs the library transformers ({error}); "
            "install it with: pip install 'ecgtwin[nomic]'"
        ) from None


def _fetch(revision: str) -> Path:
    """Return the hub's cached snapshot of ``revision``, downloaded if need be."""
    if revision.startswith(DIGEST_MARK):
        raise EncoderError(
            f"the text encoder {revision} is not on the hub: it is known by the digest of a "
            f"folder's files; name that folder in {FOLDER_VARIABLE}"
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(MODEL, revision=revision, allow_patterns=list(FILES)))
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise EncoderError(
            f"{MODEL} at {revision} cannot be downloaded ({reason}); where the hub cannot be "
            f"reached, copy its files to a folder and name that in {FOLDER_VARIABLE}"
        ) from error


def _check_folder(folder: Path, *, width: int) -> None:
    missing = [name for name in FILES[:3] if not (folder / name).is_file()]
    if missing:
        found = f"lacks {', '.join(missing)}" if folder.is_dir() else "does not exist"
        raise EncoderError(
            f"text encoder folder {folder} {found}; give the folder that a "
            f"download of {MODEL} made (docs/text-encoders.md)"
        )
    try:
        config = json.loads((folder / "config.json").read_text())
        found, numbers = config.get("model_type"), config.get("hidden_size", 768)
    except (ValueError, AttributeError) as error:
        raise EncoderError(
            f"{folder / 'config.json'} is damaged ({error}); copy it again"
        ) from None
    if found != MODEL_TYPE or numbers < width:
        raise EncoderError(
            f"text encoder folder {folder} holds a model of type {found!r} with {numbers} numbers "
            f"a text; needed is {MODEL_TYPE!r} with at least {width}: {MODEL}"
        )


def _read(folder: Path) -> tuple[Any, Any]:
    """Return (model, tokenizer); EncoderError unless the file fills every weight."""
    from transformers import BertTokenizer, NomicBertModel

    try:
        with _quiet():
            model, report = NomicBertModel.from_pretrained(
                folder,
                local_files_only=True,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
            tokenizer = BertTokenizer.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the readers raise types of their own, not all of one family
        reason = str(error).strip().partition("\n")[0]
        raise EncoderError(
            f"text encoder folder {folder} cannot be read ({reason}); copy it again"
        ) from error
    strange = sorted([*report["missing_keys"], *report["unexpected_keys"]])
    if strange:
        raise EncoderError(
            f"the weights in {folder} do not fit {MODEL_TYPE}; missing or unknown: "
            f"{', '.join(strange[:3])} ({len(strange)} in all); copy them again"
        )
    return model.eval().requires_grad_(False), tokenizer


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the library from drawing a bar and telling what we tell ourselves."""
    from transformers.utils import logging

    verbosity, has_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if has_bar:
            logging.enable_progress_bar()
