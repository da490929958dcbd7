"""From the words behind a verb to its `Args`, by tyro; the only file that uses private parts of tyro.

Its hook for errors is private and was checked with tyro 1.0.17, hence the exact version in pyproject.toml: run
tests/unit/pipelines/test_cli.py with another one before the pin moves.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pipelines.numbers import number
from tasks.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from tyro._errors import ParseErrorEvent
    from tyro.constructors import PrimitiveConstructorSpec, PrimitiveTypeInfo


def parse(args: type, verb: str, words: list[str]) -> Any:
    """Return the verb's `Args`, filled from the words.

    Raises:
        UserError: an unknown, missing or wrong argument.
    """
    import tyro
    from tyro._errors import on_parse_error
    from tyro.constructors import ConstructorRegistry

    def refuse(event: ParseErrorEvent) -> None:
        raise UserError(f"{_problem(event, args, words)} (`marey {verb} --help` lists all)")

    try:
        registry = ConstructorRegistry()
        registry.primitive_rule(_strict_number)
        with on_parse_error(refuse), registry:
            return tyro.cli(args, prog=f"marey {verb}", args=words, config=[tyro.conf.PositionalMetavarFromFieldName])
    except ValueError as error:  # from a settings' __post_init__
        raise UserError(str(error)) from error


def _strict_number(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Return how a number is read from a word: as recipes read it, where tyro would take 0112, 1_000 and inf."""
    from tyro.constructors import PrimitiveConstructorSpec

    kind = info.type
    if kind not in (int, float):
        return None

    def read(words: list[str]) -> int | float:
        found = number(words[0])
        if found is None or (kind is int and isinstance(found, float)):
            raise ValueError(f"not a {'whole ' if found is not None else ''}number: {words[0]!r}")
        return float(found) if kind is float else found

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=kind.__name__.upper(),
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, int if kind is int else int | float),
        str_from_instance=lambda value: [str(value)],
    )


def _problem(event: ParseErrorEvent, args: type, words: list[str]) -> str:
    """Return in a few words what tyro would draw a box around."""
    from tyro import _errors

    known = _flags(args)
    given = [word.partition("=")[0] for word in before_dashes(words) if re.match(r"--?[a-zA-Z]", word)]
    unknown = next((flag for flag in given if flag.replace("_", "-") not in known), None)
    if unknown is not None:
        return f"unknown flag {unknown!r}{did_you_mean(unknown, known)}"
    match event:
        case _errors.UnrecognizedArgs():
            return f"unexpected argument: {event.tokens[0]}"
        case _errors.MissingArgs():
            return f"missing: {', '.join(_name(context.arg) for context in event.missing_arguments)}"
        case _errors.InvalidChoice():
            choices = [choice for choice in event.choices if choice != "None"]  # the default, where none is needed
            return f"{_name(event.argument)}: unknown {event.value!r}{did_you_mean(event.value, choices)}"
        case _errors.BadValue():
            return f"{_name(event.argument)} needs a value"
        case _errors.InstantiationFailure():
            message = _shortened(event.message)
            return f"{_name(event.argument)}: {message}" if event.argument else message
    return type(event).__name__


def _shortened(message: str) -> str:
    """Return what tyro says of a value that may be None, or of several: of the kinds that it tried, the last counts."""
    tried = re.findall(r"- <class '\w+'>: ([^\n]*)", message)
    several = re.fullmatch(r"Could not find valid parse for arguments: \[(.*)\]", message.strip())
    return f"not all are numbers: {several[1]}" if several else tried[-1].strip() if tried else message


def _name(argument: Any) -> str:
    return str(argument.lowered.metavar).strip("[]") if argument.is_positional() else argument.lowered.name_or_flags[-1]


def _flags(args: type) -> set[str]:
    import contextlib
    import io

    import tyro

    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        tyro.cli(args, args=["--help"])
    return {flag.replace("_", "-") for flag in re.findall(r"(?<!\w)--?[a-z][\w.-]*", text.getvalue())}


def before_dashes(words: list[str]) -> list[str]:
    """Return the words before `--`; what follows belongs to the verb that `marey submit` sends."""
    return words[: words.index("--")] if "--" in words else words
