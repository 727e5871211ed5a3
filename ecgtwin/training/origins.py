"""What a training reads from: corpora, or packs where neither zarr nor pyarrow is installed."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from ecgtwin.models.text_encoder import HashedEncoder, TextEncoder, make_encoder
from ecgtwin.signals.leads import INDEPENDENT_LEADS
from ecgtwin.spec.model import TextSpec
from ecgtwin.store.pack import Pack, is_pack, read_pack
from ecgtwin.training.rows import TrainingRows


class Origin(Protocol):
    """A corpus or a pack, opened."""

    url: str

    @property
    def digest(self) -> str:
        """By which a training knows it."""

    @property
    def num_samples(self) -> int:
        """Samples per lead."""

    @property
    def sampling_rate_hz(self) -> float:
        """Of every recording."""

    def rows(self, split: str, leads: Sequence[str]) -> TrainingRows:
        """Read ``leads`` and conditions of a split."""

    def outline(self, split: str) -> TrainingRows:
        """Read the same rows without their samples."""


class _CorpusOrigin:
    def __init__(self, url: str) -> None:
        from ecgtwin.errors import StoreError
        from ecgtwin.store.reader import Corpus

        self.url, self._corpus = url, Corpus(url)
        if not self._corpus.is_settled:
            raise StoreError(
                f"{url} is not finished, so its splits are not settled; ingest it first"
            )
        self.description = self._corpus.description
        self.digest = str(self.description["digest"])
        self.num_samples = self._corpus.layout.num_samples
        self.sampling_rate_hz = self._corpus.layout.sampling_rate_hz

    def rows(self, split: str, leads: Sequence[str]) -> TrainingRows:
        return TrainingRows.read([self._corpus], split, leads)

    def outline(self, split: str) -> TrainingRows:
        return TrainingRows.without_samples(self._corpus, split)


class _PackOrigin:
    def __init__(self, pack: Pack) -> None:
        self._pack, self.url, self.digest = pack, pack.url, pack.digest
        self.num_samples, self.sampling_rate_hz = pack.num_samples, pack.sampling_rate_hz

    def rows(self, split: str, leads: Sequence[str]) -> TrainingRows:
        return TrainingRows.read_pack(self._pack, split, leads)

    def outline(self, split: str) -> TrainingRows:
        rows = self.rows(split, INDEPENDENT_LEADS)
        return replace(rows, samples_BLT=rows.samples_BLT[:, :0, :0])


def open_origin(url: str) -> Origin:
    """Open the corpus or pack at ``url``; StoreError where there is none."""
    return _PackOrigin(read_pack(url)) if is_pack(url) else _CorpusOrigin(url)


def rows_of(origins: Sequence[Origin], split: str, leads: Sequence[str]) -> TrainingRows:
    """Read ``leads`` in that order and the conditions of ``split``, origins in order.

    SpecificationError where two corpora may number other people alike.
    """
    _check_apart(origins)
    return TrainingRows.joined([origin.rows(split, leads) for origin in origins])


def outline_of(origins: Sequence[Origin], split: str) -> TrainingRows:
    """Return the same rows without their samples; SpecificationError as of ``rows_of``."""
    _check_apart(origins)
    return TrainingRows.joined([origin.outline(split) for origin in origins])


def _check_apart(origins: Sequence[Origin]) -> None:
    corpora = [origin for origin in origins if isinstance(origin, _CorpusOrigin)]
    if len(corpora) > 1:
        from ecgtwin.store.reader import check_archives_differ

        check_archives_differ([(origin.url, origin.description) for origin in corpora])


def text_encoder_for(urls: Sequence[str], spec: TextSpec) -> TextEncoder:
    """Return the encoder of ``spec``; what is embedded beside corpora is taken from there."""
    corpora = [url for url in urls if not is_pack(url)]
    if spec.kind == "hashed":
        return HashedEncoder(spec.width)
    if not corpora:
        return make_encoder(spec)
    from ecgtwin.twin.corpus_text import corpus_encoder

    return corpus_encoder(corpora, spec)
