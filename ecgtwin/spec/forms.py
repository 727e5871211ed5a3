"""The forms that a place of a specification may take: which keys it has, and where else a key is.

A field's type is walked as pydantic does: into lists, keys and values, and unions, whose members
bear a tag each.
"""

import types
import typing
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, Tag

BRANCH = "="
_MAX_HOMES = 3
_DEEPEST = 6  # a model may hold itself
_Form = Any  # a type expression


def without_branches(location: Sequence[int | str]) -> tuple[int | str, ...]:
    """Return the location as a person knows it: without the tags of forms."""
    return tuple(part for part in location if not str(part).startswith(BRANCH))


def models_at(cls: type[BaseModel], location: Sequence[int | str]) -> list[type[BaseModel]]:
    """Return the models that may stand at ``location`` inside ``cls``."""
    forms = _forms_at(cls, location)
    return [one for form in forms for one in _bare_members(form) if _is_model(one)]


def fields_at(cls: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Return the names of the fields that may stand at ``location``, sorted."""
    return sorted({name for model in models_at(cls, location) for name in model.model_fields})


def forms_beside(cls: type[BaseModel], location: Sequence[int | str]) -> list[type[BaseModel]]:
    """Return the models that might stand at ``location``, had another form been chosen."""
    chosen = models_at(cls, location)
    return [one for one in models_at(cls, without_last_branches(location)) if one not in chosen]


def without_last_branches(location: Sequence[int | str]) -> list[int | str]:
    """Return the location before a form was chosen for what stands there."""
    before = list(location)
    while before and str(before[-1]).startswith(BRANCH):
        before.pop()
    return before


def words_at(cls: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Return the words that may stand at ``location`` instead of a value of another form."""
    forms = _forms_at(cls, without_last_branches(location))
    literals = [one for form in forms for one in _bare_members(form) if _origin(one) is Literal]
    return [word for one in literals for word in get_args(one)]


def homes_of(cls: type[BaseModel], name: str) -> list[str]:
    """Return where else in ``cls`` a field of that name is, in words; the outermost first."""
    homes = ["at the top level"] if name in cls.model_fields else []
    homes += [f"in {path}" for path, model in _models_within(cls) if name in model.model_fields]
    return list(dict.fromkeys(homes))[:_MAX_HOMES]


def _forms_at(cls: type[BaseModel], location: Sequence[int | str]) -> list[_Form]:
    forms: list[_Form] = [cls]
    for part in location:
        forms = [inner for form in forms for inner in _inside(form, part)]
    return forms


def _models_within(cls: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the models inside ``cls`` with the words of where they are, the outermost first."""
    level: list[tuple[str, type[BaseModel]]] = [("", cls)]
    for _ in range(_DEEPEST):
        inner = []
        for path, model in level:
            for name, field in model.model_fields.items():
                where = f"{path}.{name}" if path else name
                inner += list(_models_of(field.annotation, where))
        yield from inner
        level = inner


def _models_of(form: _Form, where: str) -> Iterator[tuple[str, type[BaseModel]]]:
    for one in _bare_members(form):
        if _is_model(one):
            yield where, one
        elif _origin(one) in (tuple, list):
            entry = where if where.startswith("each entry") else f"each entry of {where}"
            for inner in dict.fromkeys(get_args(one)):
                yield from _models_of(inner, entry)


def _inside(form: _Form, part: int | str) -> list[_Form]:
    """Return the forms that ``part`` leads to: a tag, a place in a list, or a key."""
    if str(part).startswith(BRANCH):
        tagged = [one for one in _members(form) if Tag(str(part)) in _tags(one)]
        return tagged or [form]
    found: list[_Form] = []
    for one in _bare_members(form):
        if _is_model(one) and part in one.model_fields:
            found.append(one.model_fields[part].annotation)
        elif _origin(one) in (tuple, list) and isinstance(part, int):
            found += [arg for arg in get_args(one) if arg is not Ellipsis]
        elif _origin(one) is dict and isinstance(part, str):
            found.append(get_args(one)[1])
    return found


def _members(form: _Form) -> list[_Form]:
    """Return the members of a union, and of unions among them that bear no tag; or the form."""
    bare = get_args(form)[0] if _origin(form) is Annotated else form
    if _origin(bare) not in (typing.Union, types.UnionType):
        return [form]
    return [inner for one in get_args(bare) for inner in ([one] if _tags(one) else _members(one))]


def _bare_members(form: _Form) -> list[_Form]:
    """Return the members of unions at any depth, without what is annotated."""
    bare = get_args(form)[0] if _origin(form) is Annotated else form
    if _origin(bare) not in (typing.Union, types.UnionType):
        return [bare]
    return [inner for one in get_args(bare) for inner in _bare_members(one)]


def _tags(form: _Form) -> list[Tag]:
    return [one for one in getattr(form, "__metadata__", ()) if isinstance(one, Tag)]


def _is_model(form: _Form) -> bool:
    return isinstance(form, type) and issubclass(form, BaseModel)


def _origin(form: _Form) -> Any:  # noqa: ANN401  (a type expression)
    return typing.get_origin(form)
