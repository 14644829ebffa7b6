"""A YAML file as plain values, and where each of them stands."""

from collections.abc import Hashable
from typing import Any, Final, NamedTuple, TypeAlias

import yaml

from tocsin.errors import ConfigError

__all__ = ["Document", "Path", "Place", "read_document"]

Path: TypeAlias = tuple[str | int, ...]
"""Keys and indexes from the top of a file down to a value."""
MAX_DEPTH: Final = 32


class Place(NamedTuple):
    """Line and column, both from 1."""

    line: int
    column: int


class Document(NamedTuple):
    """Plain values; for every path, where its key (or its value, in a list) stands.

    problems: what YAML allows and nobody means, such as a key that comes twice.
    """

    content: Any
    places: dict[Path, Place]
    problems: list[tuple[Path, str]]

    def place(self, path: Path) -> Place:
        """Where a value is, or the nearest value around it."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, Place(1, 1))


def read_document(text: str) -> Document:
    """Read YAML. Raises ConfigError for text that is none; the message begins with LINE:COLUMN."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = Place(mark.line + 1, mark.column + 1) if mark else Place(1, 1)
        raise ConfigError(f"{place.line}:{place.column}: {error.problem}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"1:1: not YAML: {error}") from error
    document = Document({}, {}, [])
    if root is None:
        return document
    content = _Reader(document.places, document.problems).read(root, ())
    return document._replace(content={} if content is None else content)


class _Reader:
    """Turns nodes into values, taking note of where they are."""

    def __init__(self, places: dict[Path, Place], problems: list[tuple[Path, str]]) -> None:
        self._places = places
        self._problems = problems
        self._scalars = yaml.SafeLoader("")

    def read(self, node: yaml.Node, path: Path) -> Any:
        """Read a node and what is under it."""
        self._places.setdefault(path, _place(node))
        if len(path) > MAX_DEPTH:
            self._problems.append((path, "nested too deep"))
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        try:
            return self._scalars.construct_object(node)
        except (yaml.YAMLError, ValueError):
            self._problems.append((path, f"{str(node.value)[:60]!r} is not a value"))
            return None

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[Hashable, Any]:
        found: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else "?"
            below = (*path, key)
            if key in found:
                at = _place(key_node)
                self._problems.append((below, f"is given again at {at.line}:{at.column}"))
                continue
            self._places[below] = _place(key_node)
            found[key] = self.read(value_node, below)
        return found


def _place(node: yaml.Node) -> Place:
    return Place(node.start_mark.line + 1, node.start_mark.column + 1)
