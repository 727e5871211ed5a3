"""What a wording says: its findings, how certain each is, and what no table knows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

from ecgtwin.sources.vocabulary.tables import Finding, phrase_table, spelled
from ecgtwin.sources.vocabulary.words import Word, clauses
from ecgtwin.spec.condition import Certainty, Statement

Said = tuple[Statement, ...]

_DOUBT = {"definite": 0, "possible": 1, "negated": 2}
_UNCERTAIN_LIKELIHOODS = frozenset({"15", "35", "50"})  # percent, PTB-XL's editors: "LVH 35"
_JOINERS = frozenset({"and", "or", ","})
_REACH = 24  # items: how far from a finding a cue may stand, so that time stays linear
_LIMB_LEADS = ("i", "ii", "iii", "avr", "avl", "avf", "d1", "d2", "d3", "qi", "qii", "qiii")
_LEADS = frozenset((*_LIMB_LEADS, *(f"v{place}" for place in range(1, 10))))


@dataclass(slots=True)
class _Item:
    """A finding, a cue, or words that no table knows (``kind`` "unknown"), in one clause."""

    kind: str
    start: int
    stop: int
    finding: Finding = ()
    doubt: list[Certainty] = field(default_factory=list)


def read_wording(text: str) -> tuple[Said, tuple[str, ...]]:
    """Return (statements in order of mention, runs of words that no table knows, as written).

    Any text is allowed; time is linear in its length.
    """
    statements: list[Statement] = []
    unknown: list[str] = []
    for words in clauses(text):
        items = _items(spelled(words))
        is_signature = any(item.kind == "signature" for item in items)
        if is_signature:  # a name follows: it says nothing of the heart, and is not kept
            items = items[: [item.kind for item in items].index("signature")]
        _spread_certainty(items)
        statements += [said for item in items for said in _said(item)]
        unknown += _unknown_runs(items, text)
        if is_signature:
            break
    return tuple(statements), tuple(unknown)


def _items(words: list[Word]) -> list[_Item]:
    phrases = phrase_table()
    found: list[_Item] = []
    position = 0
    while position < len(words):
        length, phrase = phrases.longest(words, position)
        length = length or 1
        first, last = words[position], words[position + length - 1]
        if phrase is not None and not (phrase.kind == "or" and _joins_leads(words, position)):
            item = _Item(phrase.kind, first.start, last.stop, phrase.finding)
            follower = words[position + length].text if position + length < len(words) else ""
            if phrase.kind == "finding" and length == 1 and follower in _UNCERTAIN_LIKELIHOODS:
                item.doubt.append("possible")
            found.append(item)
        elif first.text == ",":
            found.append(_Item(",", first.start, last.stop))
        elif phrase is None and not _says_nothing(first.text):
            found.append(_Item("unknown", first.start, last.stop))
        position += length
    return [item for item in found if item.kind != "filler"]


def _says_nothing(word: str) -> bool:
    return word[:1].isdigit() or word in _LEADS or (len(word) == 1 and word.isascii())


def _joins_leads(words: Sequence[Word], position: int) -> bool:
    around = words[max(0, position - 1) : position + 2 : 2]
    return len(around) == 2 and all(word.text in _LEADS for word in around)


def _spread_certainty(items: Sequence[_Item]) -> None:
    """Let every cue of a clause reach the findings that it speaks of.

    A cue that has none on its side speaks of the other side, unless it speaks of unknown words.
    """
    for place, item in enumerate(items):
        certainty, _, side = item.kind.partition("_")
        if side not in ("next", "last") and item.kind != "or":
            continue
        before = items[max(0, place - _REACH) : place][::-1]
        after = items[place + 1 : place + 1 + _REACH]
        if item.kind == "or":
            reached = _chain(before)[:1] + _chain(after)[:1]
            certainty = "possible"
        else:
            near, far = (after, before) if side == "next" else (before, after)
            through_commas = certainty == "possible" and side == "next"
            reached = _chain(near, through_commas=through_commas)
            if not reached and all(other.kind != "unknown" for other in near):
                reached = _chain(far)
        for finding in reached:
            finding.doubt.append("possible" if certainty == "possible" else "negated")


def _chain(items: Sequence[_Item], *, through_commas: bool = False) -> list[_Item]:
    """Return the first finding and those joined to it by "and" or "or".

    Findings between commas belong to the chain where an "and" or "or" follows them, or where
    ``through_commas`` says so.
    """
    kinds = [item.kind for item in items]
    reach = kinds.index("but") if "but" in kinds else len(kinds)
    findings = [place for place in range(reach) if kinds[place] == "finding"]
    chain = [items[place] for place in findings[:1]]
    waiting: list[_Item] = []
    for left, right in pairwise(findings):
        between = set(kinds[left + 1 : right])
        if not between or not between <= _JOINERS:
            break
        waiting.append(items[right])
        if through_commas or between != {","}:
            chain += waiting
            waiting = []
    return chain


def _said(item: _Item) -> Iterator[Statement]:
    for statement in item.finding:
        certainty = max((statement.certainty, *item.doubt), key=_DOUBT.__getitem__)
        yield _statement(statement.code, certainty)


@lru_cache(maxsize=4096)
def _statement(code: str, certainty: Certainty) -> Statement:
    return Statement(code=code, certainty=certainty)


def _unknown_runs(items: Sequence[_Item], text: str) -> Iterator[str]:
    """Yield each run of unknown words as written, with the cues that stand before it."""
    start = None
    for place, item in enumerate(items):
        if item.kind != "unknown" and not item.kind.endswith("_next"):
            start = None
            continue
        start = item.start if start is None else start
        goes_on = place + 1 < len(items) and items[place + 1].kind == "unknown"
        if item.kind == "unknown" and not goes_on:
            yield " ".join(text[start : item.stop].split())
            start = None
