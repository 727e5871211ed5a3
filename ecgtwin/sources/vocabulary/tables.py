"""The tables beside this file: wordings, cues of certainty, spellings, sites of the heart."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from ecgtwin.sources.vocabulary.words import Phrases, Word, plain_words, respelled
from ecgtwin.spec.condition import Statement

Finding = tuple[Statement, ...]

CERTAINTY_CUES = ("possible_next", "possible_last", "negated_next", "negated_last")
CUES = frozenset((*CERTAINTY_CUES, "and", "or", "but", "signature", "filler"))
_SITE = "{site}"


@dataclass(frozen=True, slots=True)
class Phrase:
    """What a phrase is: ``"finding"`` with its statements, or one of ``CUES``."""

    kind: str
    finding: Finding = ()


def read_table(name: str) -> list[dict[str, str]]:
    """Return the rows of one CSV of this package."""
    text = (resources.files("ecgtwin.sources.vocabulary") / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def parse_finding(text: str) -> Finding:
    """Return the statements of ``a|b?|!c``: a is definite, b possible, c negated."""
    return tuple(_parse_statement(part) for part in text.split("|") if part)


def _parse_statement(text: str) -> Statement:
    if text.endswith("?"):
        return Statement(code=text[:-1], certainty="possible")
    if text.startswith("!"):
        return Statement(code=text[1:], certainty="negated")
    return Statement(code=text)


def sites() -> tuple[str, ...]:
    """Return the English sites of infarcts and leads."""
    return tuple(row["site"] for row in read_table("sites.csv"))


def wordings() -> Iterator[tuple[str, str]]:
    """Yield (phrase, statements) of every wording, one per site where it has a ``{site}``."""
    for row in read_table("wordings.csv"):
        phrase, statement = row["phrase"], row["statement"]
        for site in sites() if _SITE in phrase else ("",):
            yield phrase.replace(_SITE, site), statement.replace(_SITE, site)


@cache
def _spelling_tables() -> tuple[Phrases, Phrases]:
    """Return the spellings of single words, and of phrases made of words so spelled."""
    rows = [(plain_words(row["spelling"]), plain_words(row["word"])) for row in spellings()]
    single = Phrases({spelling: word for spelling, word in rows if len(spelling) == 1})
    longer: dict[tuple[str, ...], tuple[str, ...]] = {}
    for spelling, word in rows:
        key = tuple(part.text for part in respelled(_as_words(spelling), single))
        if len(key) > 1:
            longer[key] = word
    return single, Phrases(longer)


def spelled(words: list[Word]) -> list[Word]:
    """Return the words of a clause as the tables of wordings and cues spell them."""
    single, longer = _spelling_tables()
    return respelled(respelled(words, single), longer)


def _as_words(parts: Sequence[str]) -> list[Word]:
    return [Word(part, 0, 0) for part in parts]


def spellings() -> list[dict[str, str]]:
    """Return the rows of spellings.csv and, for every site, its German and Swedish forms."""
    rows = read_table("spellings.csv")
    for row in read_table("sites.csv"):
        rows += [{"spelling": form, "word": row["site"]} for form in row["forms"].split()]
    return rows


@cache
def phrase_table() -> Phrases:
    """Return phrase -> ``Phrase``, spelled as the spelling table has it.

    Raises ValueError where two rows give one phrase different meanings.
    """
    table: dict[tuple[str, ...], Phrase] = {(site,): Phrase("filler") for site in sites()}
    for text, kind in _all_phrases():
        key = _spelled(text)
        if table.setdefault(key, kind) != kind:
            raise ValueError(f"the wording {text!r} has two meanings: {table[key]}, {kind}")
    return Phrases(table)


def _all_phrases() -> Iterator[tuple[str, Phrase]]:
    for phrase, statement in wordings():
        yield phrase, Phrase("finding", parse_finding(statement))
    for row in read_table("cues.csv"):
        yield row["phrase"], Phrase(row["cue"])


def _spelled(text: str) -> tuple[str, ...]:
    return tuple(word.text for word in spelled(_as_words(plain_words(text))))
