"""Expressions that a constraint may be: comparisons and arithmetic on named fields, nothing else.

    patient.age_years >= 18 and condition.heart_rate_bpm <= 208 - 0.7 * patient.age_years
    "atrial fibrillation" not in condition.statements or condition.heart_rate_bpm >= 60

``or``, ``and``, ``not``; ``<`` ``<=`` ``==`` ``!=`` ``>=`` ``>`` (chained as in mathematics);
``in`` and ``not in`` a list of statements; ``is known``, ``is unknown``; ``+ - * /``; numbers,
quoted texts and the fields given. A text is parsed and its types are checked before anything is
evaluated; the errors say the column. What is unknown (a patient without an age) makes a comparison
unknown, not false, and unknown is carried on as by Kleene 1952, section 64: ``unknown or true`` is
true.
"""

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Literal, NamedTuple

from ecgtwin.spec.expression_tree import (
    Arithmetic,
    Comparison,
    Field,
    IsKnown,
    Junction,
    Literally,
    Node,
    Not,
)

MAX_LENGTH = 2_000  # characters
MAX_DEPTH = 40  # of what stands inside something else

Kind = Literal["number", "text", "texts", "truth"]
_WORDS_OF_KIND: Mapping[Kind, str] = {
    "number": "a number",
    "text": "a text",
    "texts": "a list of statements",
    "truth": "a comparison",
}
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))
      | (?P<text>"[^"\n]*"|'[^'\n]*')
      | (?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)
      | (?P<sign><=|>=|==|!=|[-<>+*/()])
      | (?P<end>\Z)
      | (?P<other>.)
    )""",
    re.VERBOSE | re.DOTALL,
)
_KEYWORDS = frozenset({"and", "or", "not", "in", "is", "known", "unknown"})
_COMPARISONS = frozenset({"<", "<=", "==", "!=", ">=", ">"})


class _Typed(NamedTuple):
    node: Node
    kind: Kind
    column: int  # where it begins, from 1


_Read = Callable[[], _Typed]


class _Token(NamedTuple):
    kind: str
    text: str
    column: int


def parse_expression(text: str, fields: Mapping[str, Kind]) -> Node:
    """Return the tree of ``text``, whose names are those of ``fields``.

    Raise ValueError saying the column, what was found there and what may stand there.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"is longer than {MAX_LENGTH} characters; make several constraints of it")
    parser = _Parser(list(_tokens(text)), fields)
    found = parser.truth()
    parser.expect_end()
    return found.node


def with_sought_texts(text: str, replacements: Mapping[str, str]) -> str:
    """Return ``text``, which parses, with what it seeks in lists of statements replaced."""
    tokens = list(_tokens(text))
    done, position = [], 0
    for place, token in enumerate(tokens[:-2]):
        follows = [one.text for one in tokens[place + 1 : place + 3]]
        if token.kind == "text" and ("in" in follows[:1] or follows == ["not", "in"]):
            sought = replacements.get(token.text[1:-1], token.text[1:-1])
            quote = '"' if "'" in sought else token.text[0]
            done += [text[position : token.column - 1], quote, sought, quote]
            position = token.column - 1 + len(token.text)
    return "".join([*done, text[position:]])


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    while True:
        match = _TOKEN.match(text, position)
        assert match is not None
        assert match.lastgroup is not None  # `end` or `other` always match
        kind = match.lastgroup
        word, column = match.group(kind), match.start(kind) + 1
        if kind == "other":
            raise ValueError(_stray(word, column))
        if kind == "name" and word in _KEYWORDS:
            kind = "word"
        yield _Token(kind, word, column)
        if kind == "end":
            return
        position = match.end()


def _stray(character: str, column: int) -> str:
    advice = {
        "=": "write == to compare",
        "&": "write and",
        "|": "write or",
        "!": "write not, or !=",
        "%": "there is + - * /",
        "^": "there is + - * /",
        "[": "write x == 1 or x == 2",
        '"': "the text has no closing quote",
        "'": "the text has no closing quote",
    }.get(character, "an expression is of fields, numbers, quoted texts and comparisons")
    if character.isdigit():
        advice = "a number stands without a unit, and no name begins with a digit"
    return f"column {column}: {character!r} has no meaning here; {advice}"


class _Parser:
    """Recursive descent; every method returns what it read, typed."""

    def __init__(self, tokens: list[_Token], fields: Mapping[str, Kind]) -> None:
        self._tokens, self._fields = tokens, fields
        self._place = self._depth = 0

    @property
    def _next(self) -> _Token:
        return self._tokens[self._place]

    def _take(self, *words: str) -> _Token | None:
        """Return the next token and go on, if it is one of the words or signs."""
        token = self._next
        if token.kind in ("word", "sign") and token.text in words:
            self._place += 1
            return token
        return None

    def expect_end(self) -> None:
        token = self._next
        if token.kind != "end":
            raise ValueError(
                f"column {token.column}: {token.text!r} follows what is whole already; join parts "
                f"by `and` or `or`"
            )

    def truth(self) -> _Typed:
        """Read a whole: something that is true or not."""
        found = self._alternatives()
        if found.kind != "truth":
            raise ValueError(
                f"column {found.column}: {_WORDS_OF_KIND[found.kind]} alone is neither true nor "
                f"false; compare it with something"
            )
        return found

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise ValueError(
                f"column {self._next.column}: stands inside more than {MAX_DEPTH} others; make "
                f"several constraints of it"
            )

    def _alternatives(self) -> _Typed:
        return self._junction("or", self._conjunction)

    def _conjunction(self) -> _Typed:
        return self._junction("and", self._negation)

    def _junction(self, word: Literal["and", "or"], part: _Read) -> _Typed:
        left = part()
        while token := self._take(word):
            _must_be(left, "truth", f"left of `{word}`")
            right = _must_be(part(), "truth", f"right of `{word}` in column {token.column}")
            left = _Typed(Junction(word, left.node, right.node), "truth", left.column)
        return left

    def _negation(self) -> _Typed:
        token = self._take("not")
        if token is None:
            return self._comparison()
        self._deeper()
        of = _must_be(self._negation(), "truth", "after `not`")
        self._depth -= 1
        return _Typed(Not(of.node), "truth", token.column)

    def _comparison(self) -> _Typed:
        left = self._sum()
        found: _Typed | None = None
        while True:
            one = self._one_comparison(left)
            if one is None:
                return left if found is None else found
            whole, right = one
            if found is not None:
                whole = Junction("and", found.node, whole)
            found = _Typed(whole, "truth", left.column if found is None else found.column)
            left = right

    def _one_comparison(self, left: _Typed) -> tuple[Node, _Typed] | None:
        """Return the comparison that follows ``left`` with its other side, None where none does."""
        if token := self._take("is"):
            return self._known(left), left
        if token := self._take("in", "not"):
            if token.text == "not" and self._take("in") is None:
                raise ValueError(f"column {token.column}: `in` is missing after `not`")
            text = _must_be(left, "text", "left of `in`")
            right = _must_be(self._sum(), "texts", "right of `in`")
            sought: Node = Comparison("in", text.node, right.node)
            return (Not(sought) if token.text == "not" else sought), right
        if token := self._take(*_COMPARISONS):
            right = self._sum()
            if left.kind != right.kind or left.kind not in ("number", "text"):
                raise ValueError(
                    f"column {token.column}: {_WORDS_OF_KIND[left.kind]} cannot be compared with "
                    f"{_WORDS_OF_KIND[right.kind]} by {token.text}"
                    + _how_to_compare({left.kind, right.kind})
                )
            if left.kind == "text" and token.text not in ("==", "!="):
                raise ValueError(f"column {token.column}: texts are compared by == and != only")
            return Comparison(token.text, left.node, right.node), right
        return None

    def _known(self, left: _Typed) -> Node:
        if not isinstance(left.node, Field):
            raise ValueError(f"column {left.column}: `is` asks of a field whether it is known")
        says_not = self._take("not") is not None
        token = self._take("known", "unknown")
        if token is None:
            raise ValueError(
                f"column {self._next.column}: `is` is followed by known or unknown "
                f"(found {self._next.text!r})"
            )
        known = IsKnown(left.node)
        return known if (token.text == "known") != says_not else Not(known)

    def _sum(self) -> _Typed:
        return self._arithmetic(("+", "-"), self._product)

    def _product(self) -> _Typed:
        return self._arithmetic(("*", "/"), self._signed)

    def _arithmetic(self, signs: tuple[str, str], part: _Read) -> _Typed:
        left = part()
        while token := self._take(*signs):
            _must_be(left, "number", f"left of {token.text}")
            right = _must_be(part(), "number", f"right of {token.text}")
            left = _Typed(Arithmetic(token.text, left.node, right.node), "number", left.column)
        return left

    def _signed(self) -> _Typed:
        token = self._take("-")
        if token is None:
            return self._atom()
        self._deeper()
        of = _must_be(self._signed(), "number", "after -")
        self._depth -= 1
        return _Typed(Arithmetic("-", Literally(0.0), of.node), "number", token.column)

    def _atom(self) -> _Typed:
        token = self._next
        self._place += 1
        match token.kind:
            case "number":
                return _Typed(Literally(float(token.text)), "number", token.column)
            case "text":
                return _Typed(Literally(token.text[1:-1]), "text", token.column)
            case "name":
                return _Typed(Field(token.text), self._kind_of(token), token.column)
        if token.text == "(":
            self._deeper()
            inner = self._alternatives()
            if self._take(")") is None:
                raise ValueError(
                    f"column {token.column}: this parenthesis is not closed; `)` is wanted in "
                    f"column {self._next.column}"
                )
            self._depth -= 1
            return inner._replace(column=token.column)
        found = "the end" if token.kind == "end" else repr(token.text)
        raise ValueError(
            f"column {token.column}: {found} stands where a field, a number or a quoted text is "
            f"wanted"
        )

    def _kind_of(self, token: _Token) -> Kind:
        kind = self._fields.get(token.text)
        if kind is None:
            if self._next.text == "(":
                raise ValueError(
                    f"column {token.column}: {token.text!r} is called, but there are no functions; "
                    f"there is + - * /"
                )
            near = difflib.get_close_matches(token.text, self._fields, n=3, cutoff=0.5)
            known = ", ".join(near or sorted(self._fields))
            quotes = (
                "" if near or "." in token.text else f"; a text stands in quotes: '{token.text}'"
            )
            raise ValueError(
                f"column {token.column}: no field is named {token.text!r}; "
                f"{'the nearest are' if near else 'there are'} {known}{quotes}"
            )
        return kind


def _how_to_compare(kinds: set[Kind]) -> str:
    if "texts" in kinds:
        return "; write `in`"
    return "; a text stands in quotes, a number without them" if kinds == {"text", "number"} else ""


def _must_be(found: _Typed, kind: Kind, where: str) -> _Typed:
    if found.kind != kind:
        raise ValueError(
            f"column {found.column}: {_WORDS_OF_KIND[kind]} is wanted {where} "
            f"(found {_WORDS_OF_KIND[found.kind]})"
        )
    return found
