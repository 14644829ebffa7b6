"""A file -> settings, or everything that is wrong with it."""

from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from tocsin.config.budgets import budget_contradictions
from tocsin.config.document import Document, read_document
from tocsin.config.document import Path as KeyPath
from tocsin.config.settings import LATER, Settings
from tocsin.config.workflows import contradictions
from tocsin.errors import ConfigError

__all__ = ["load_settings", "parse_settings"]


def load_settings(path: Path) -> Settings:
    """Read `tocsin.yaml`. Raises ConfigError with a line FILE:LINE:COLUMN for every problem."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise ConfigError(f"{path}: cannot be read: {reason}") from error
    return parse_settings(text, str(path))


def parse_settings(text: str, name: str) -> Settings:
    """Read the text of a configuration; name: what to call it in messages."""
    try:
        document = read_document(text)
    except ConfigError as error:
        raise ConfigError(f"{name}:{error}") from error
    problems = list(document.problems)
    settings: Settings | None = None
    if isinstance(document.content, dict):
        try:
            settings = Settings.model_validate(document.content)
        except ValidationError as error:
            problems += _problems(error)
        problems += contradictions(document.content)
        problems += budget_contradictions(document.content)
    else:
        problems.append(((), "write keys with values, such as `listen: 127.0.0.1:8001`"))
    if problems or settings is None:
        raise ConfigError("\n".join(_lines(name, document, problems)))
    return settings


def _lines(name: str, document: Document, problems: list[tuple[KeyPath, str]]) -> list[str]:
    told = []
    for path, message in problems:
        place = document.place(path)
        key = ".".join(map(str, path))
        about = f"{key}: {message}" if key else message
        told.append((place, f"{name}:{place.line}:{place.column}: {about}"))
    return [line for _, line in sorted(told)]


def _problems(error: ValidationError) -> Iterator[tuple[KeyPath, str]]:
    for one in error.errors(include_url=False, include_context=False):
        path: KeyPath = one["loc"]
        yield path, _advice(path, one["type"], one["msg"], one["input"])


def _advice(path: KeyPath, kind: str, message: str, given: Any) -> str:
    if kind == "extra_forbidden":
        key, known = str(path[-1]), _known_keys(path[:-1])
        if path == (key,) and key in LATER:
            return "is not supported by this version yet; leave it out"
        near = get_close_matches(key, known, n=1)
        return f"is no key here; write {near[0] if near else 'one of ' + ', '.join(known)}"
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    if kind == "missing":
        return "is missing; write it too"
    if kind in ("tuple_type", "list_type"):
        return f"{given!r:.80} is not right here; write a list"
    if kind in ("model_type", "dict_type"):
        keys = ", ".join(_known_keys(path))
        return f"{given!r:.80} is not right here; write keys with values{keys and ': ' + keys}"
    wanted = message.removeprefix("Input should be ").removeprefix("a valid ")
    return f"{given!r:.80} is not right here; write {wanted}"


def _known_keys(path: KeyPath) -> list[str]:
    """List the keys of the section at a path; none where there is no section."""
    found: Any = Settings
    for key in path:
        if isinstance(found, type) and issubclass(found, BaseModel):
            found = _without_none(found.model_fields[str(key)].annotation)
        elif arguments := get_args(found):  # dict[str, Section], tuple[Section, ...]
            found = next(a for a in reversed(arguments) if a is not ...)
        else:
            return []
    is_section = isinstance(found, type) and issubclass(found, BaseModel)
    return list(found.model_fields) if is_section else []


def _without_none(annotation: Any) -> Any:
    kept = [one for one in get_args(annotation) if one is not NoneType]
    return kept[0] if len(kept) == 1 else annotation
