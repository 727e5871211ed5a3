"""The words of a text: folded to plain letters, split into clauses, spellings made one."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

# An ending in brackets belongs to its word: "PVC(s)", "extrasystole(n)"; so does the T of QRS(T).
_TOKEN = re.compile(r"\w+(?:\((?:s|n|es|en|er|a|t)\)(?!\w))?|[^\w\s]", re.IGNORECASE)
_ENDS_CLAUSE = frozenset(".;:|!?()[]>*")
_ABBREVIATED = (
    "ant beg bzw chron dd ev evtl ff geringf grenzw inf inkompl intraventr kompl lat moegl neg "
    "path pos supraventr unbest unspez vent ventr wahrsch wahrscheinl"
)
_ABBREVIATIONS = frozenset(_ABBREVIATED.split())
_UMLAUTS = {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "å": "aa", "æ": "ae", "ø": "oe"}


class Word(NamedTuple):
    """A folded word and where it stands in the text."""

    text: str
    start: int
    stop: int


def clauses(text: str) -> Iterator[list[Word]]:
    """Yield the words of each clause; commas stay, as words of their own.

    A clause ends at a full stop that ends no abbreviation, at a colon, a bracket or a bar. Hyphens
    and slashes only part words. One pass: time is linear in the length of the text.
    """
    found: list[Word] = []
    for match in _TOKEN.finditer(text):
        token = match[0]
        if len(token) == 1 and token in _ENDS_CLAUSE:
            is_abbreviation = token == "." and found and found[-1].text in _ABBREVIATIONS
            if found and not is_abbreviation:
                yield found
                found = []
        elif token == "," or token[0].isalnum() or token[0] == "_":
            found.append(Word(fold(token), match.start(), match.end()))
    if found:
        yield found


@lru_cache(maxsize=1 << 15)
def _fold_short(token: str) -> str:
    word = token.casefold()
    stem, bracket, plural = word.partition("(")
    word = stem + "t" if bracket and plural == "t)" else stem
    return word if word.isascii() else "".join(map(_plain, word))


def fold(token: str) -> str:
    """Return a token in lower case without accents; German umlauts become two letters."""
    return _fold_short(token) if len(token) <= 64 else token.casefold()


def _plain(letter: str) -> str:
    if letter.isascii():
        return letter
    return _UMLAUTS.get(letter) or unicodedata.normalize("NFKD", letter)[:1]


class Phrases:
    """Phrases to look up in a sequence of words, the longest first."""

    def __init__(self, table: Mapping[tuple[str, ...], Any]) -> None:
        """Take phrase (a sequence of folded words) -> what it stands for."""
        self._root: dict[str, Any] = {}
        for phrase, value in table.items():
            node = self._root
            for word in phrase:
                node = node.setdefault(word, {})
            node[""] = value  # no word is empty

    def longest(self, words: Sequence[Word], start: int) -> tuple[int, Any]:
        """Return (number of words, value) of the longest phrase that begins at ``start``.

        (0, None) where none does.
        """
        node = self._root
        length, value = 0, None
        for position in range(start, len(words)):
            text = words[position].text
            if text not in node:
                break
            node = node[text]
            if "" in node:
                length, value = position - start + 1, node[""]
        return length, value


def respelled(words: list[Word], spellings: Phrases) -> list[Word]:
    """Return the words with every known spelling replaced by the one that the tables use."""
    found: list[Word] = []
    position = 0
    while position < len(words):
        length, replacement = spellings.longest(words, position)
        if not length:
            found.append(words[position])
            position += 1
            continue
        start, stop = words[position].start, words[position + length - 1].stop
        found += [Word(text, start, stop) for text in replacement]
        position += length
    return found


def plain_words(phrase: str) -> tuple[str, ...]:
    """Return the folded words of a phrase of a table."""
    return tuple(word.text for clause in clauses(phrase) for word in clause if word.text != ",")
