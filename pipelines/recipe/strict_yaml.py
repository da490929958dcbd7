"""YAML as recipes use it, read strictly: each value has one meaning, and none can cost much.

PyYAML finds the structure. What a plain scalar is follows YAML 1.2, as people write it: `true` and `false` alone are
booleans, so `yes` is text; numbers are decimal, without leading zeros and colons, and finite; a date is text. What only
looks like a number is text too, which a field for numbers refuses by its name.
"""

from __future__ import annotations

from typing import Any

import yaml

from pipelines.errors import UserError
from pipelines.numbers import number

LARGEST_FILE = 100_000
"""Bytes of the largest recipe file."""
MOST_VALUES = 10_000
"""Values of a recipe, those that aliases repeat counted again."""
DEEPEST = 20
"""Lists and sections within one another."""

_PLAIN, _TEXT, _PARTS = "plain", "text", "parts"
_STRING = "tag:yaml.org,2002:str"
_CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


def read(text: str, where: str) -> Any:
    """Return the value of a document: mappings, lists, text, numbers, true, false and None.

    Raises:
        UserError: it is not YAML, gives a name twice, has tags or a number out of range, holds too much or is too deep;
            begins with `where`.
    """
    try:
        node = _Composer(text).get_single_node()
        return None if node is None else _Values().value(node)
    except _RefusedError as error:
        raise UserError(f"{where}, {error}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{where} is not YAML: {_problem(error)}") from error


def read_word(text: str, where: str) -> Any:
    """Return the value of a word of the command line, such as `0.1`, `[1, 2]` or `/videos #1`.

    Only what begins with a bracket or a quote is YAML; of anything else, every character counts.

    Raises:
        UserError: as `read`; there is more behind the closing bracket or quote, or no value at all.
    """
    text = text.strip()
    if not text:
        raise UserError(f"{where}: there is no value; write null for none")
    if text[0] not in "[{\"'":
        try:
            return plain(text)
        except ValueError as error:
            raise UserError(f"{where}: {error}") from error
    if len(text.splitlines()) > 1:
        raise UserError(f"{where}: the value must be one line")
    hint = "put a text that begins like this in quotes"
    try:
        node = _Composer(text).get_single_node()
        assert node is not None  # it begins with a bracket or a quote
        if node.end_mark.index != len(text):
            raise UserError(f"{where}: the value ends before {text[node.end_mark.index :].strip()!r}; {hint}")
        return _Values().value(node)
    except _RefusedError as error:
        raise UserError(f"{where}: {error.reason}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{where}: the value is not YAML ({_problem(error)}); {hint}") from error


def plain(text: str) -> Any:
    """Return what a scalar without quotes is: None, a boolean, a number, or else the text itself.

    Raises:
        ValueError: a number that is out of range.
    """
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    found = number(text)
    return text if found is None else found


def quoted(text: str) -> bool:
    """Return whether a text reads back as itself only in quotes, as `"0.1"` does."""
    try:
        return not isinstance(plain(text), str)
    except ValueError:
        return True


class _RefusedError(Exception):
    """YAML that a recipe does not take."""

    def __init__(self, node: yaml.Node | None, reason: str) -> None:
        line = "" if node is None or node.start_mark is None else f"line {node.start_mark.line + 1}: "
        super().__init__(line + reason)
        self.reason = reason


class _Composer(yaml.SafeLoader):
    """Finds nodes, tagged by how they are written; a tag that is given stays."""

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._depth += 1
        if self._depth > DEEPEST:
            raise _RefusedError(self._here(), f"it is more than {DEEPEST} levels deep")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def _here(self) -> Any:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        return yaml.ScalarNode(_TEXT, "", event.start_mark)

    def resolve(self, kind: Any, value: Any, implicit: Any) -> str:
        if kind is not yaml.ScalarNode:
            return _PARTS
        return _PLAIN if implicit[0] else _TEXT


class _Values:
    """Makes values of nodes, and counts them: aliases repeat theirs, and may lead back to themselves."""

    def __init__(self) -> None:
        self._count = 0

    def value(self, node: yaml.Node, depth: int = 1) -> Any:
        self._count += 1
        if self._count > MOST_VALUES:
            raise _RefusedError(node, f"it holds more than {MOST_VALUES:,} values, counted with what aliases repeat")
        if depth > DEEPEST:
            raise _RefusedError(node, f"it is more than {DEEPEST} levels deep, counted with what aliases repeat")
        if node.tag not in (_PLAIN, _TEXT, _PARTS, _STRING):
            raise _RefusedError(node, f"recipes have no tags such as {node.tag}: write the value alone")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(each, depth + 1) for each in node.value]
        if node.tag != _PLAIN:
            return str(node.value)
        try:
            return plain(node.value)
        except ValueError as error:
            raise _RefusedError(node, str(error)) from error

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        seen: set[str] = set()
        for key_node, value_node in node.value:
            key = self.value(key_node, depth + 1)
            if not isinstance(key, str):
                raise _RefusedError(key_node, f"a name must be text, not {str(key)[:30]}: put it in quotes")
            if key in seen:
                raise _RefusedError(key_node, f"{key} is given twice")
            seen.add(key)
            if key == "<<" and key_node.tag == _PLAIN:
                merged = self._merged(value_node, depth)
            else:
                own[key] = self.value(value_node, depth + 1)
        return {**merged, **own}

    def _merged(self, node: yaml.Node, depth: int) -> dict[str, Any]:
        """Return the fields of a merge key's mappings, of which the first counts."""
        merged: dict[str, Any] = {}
        for each in node.value if isinstance(node, yaml.SequenceNode) else [node]:
            fields = self.value(each, depth + 1)
            if not isinstance(fields, dict):
                raise _RefusedError(each, "<< takes a section, or a list of sections")
            merged = {**fields, **merged}
        return merged


def _problem(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return " ".join(str(error).split())
