"""Names that stand for persons where data leave a corpus: keyed, so that nobody else can guess."""

import hashlib
import hmac

from ecgtwin.errors import DamageError, StoreError
from ecgtwin.store.objects import join, read_object

KEY_NAME = "private/pseudonym.key"
KEY_BYTES = 32


def pseudonym_key(corpus_url: str) -> bytes:
    """Return the key of a corpus; StoreError where there is none, DamageError where it is short."""
    name = join(corpus_url, KEY_NAME)
    try:
        key = read_object(name)
    except FileNotFoundError:
        raise StoreError(
            f"{name} is not there, so persons cannot be given pseudonyms; run the ingest again"
        ) from None
    if len(key) < KEY_BYTES:  # pseudonyms by a guessable key are no pseudonyms
        raise DamageError(
            f"{name} is damaged: {len(key)} bytes, at least {KEY_BYTES} are needed; restore it "
            "from a copy"
        )
    return key


def pseudonym(key: bytes, person_id: str) -> str:
    """Return a keyed name: without the key it says nothing about the id."""
    return hmac.new(key, person_id.encode(), hashlib.sha256).hexdigest()[:20]
