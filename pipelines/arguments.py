"""From the words behind a verb to its `Args`, by tyro; the only file that uses private parts of tyro.

Its hook for errors is private and was checked with tyro 1.0.17, hence the exact version in pyproject.toml: run
tests/unit/pipelines/test_cli.py with another one before the pin moves.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from tasks.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from tyro._errors import ParseErrorEvent


def parse(args: type, verb: str, words: list[str]) -> Any:
    """Return the verb's `Args`, filled from the words.

    Raises:
        UserError: an unknown, missing or wrong argument.
    """
    import tyro
    from tyro._errors import on_parse_error

    def refuse(event: ParseErrorEvent) -> None:
        raise UserError(f"{_problem(event, args, words)} (`marey {verb} --help` lists all)")

    try:
        with on_parse_error(refuse):
            return tyro.cli(args, prog=f"marey {verb}", args=words, config=[tyro.conf.PositionalMetavarFromFieldName])
    except ValueError as error:  # from a settings' __post_init__
        raise UserError(str(error)) from error


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
            return f"{_name(event.argument)}: unknown {event.value!r}{did_you_mean(event.value, event.choices)}"
        case _errors.BadValue():
            return f"{_name(event.argument)} needs a value"
        case _errors.InstantiationFailure():
            message = re.sub(r"^(invalid literal|could not convert) .*: ", "not a number: ", event.message)
            return f"{_name(event.argument)}: {message}" if event.argument else message
    return type(event).__name__


def _name(argument: Any) -> str:
    return str(argument.lowered.metavar if argument.is_positional() else argument.lowered.name_or_flags[-1])


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
