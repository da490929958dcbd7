"""Damaged recipes and words of the command line, by number: each must become a recipe or a one-line error, at once.

A number always makes the same file and the same word. What is damaged are the built-in recipes.
"""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import yaml

from pipelines import recipe as recipes
from pipelines.errors import USER_ERRORS

LIMIT_S = 20.0
"""Seconds within which a recipe is read or refused; none takes a tenth of it on an idle machine."""
LONGEST = 1500
"""Characters of a refusal."""
SCALARS = (
    *("yes", "no", "on", "~", "null", "", "true", "FALSE", "0112", "0x70", "0o17", "0b1", "1_000", "1:30", "1:30:00"),
    *(".inf", "-.inf", ".nan", "inf", "nan", "1e999", "1e-999", "-0.0", "-0", "1e3", "3.0", "9" * 30, "9" * 5000),
    *("2026-11-29", "2026-11-29 10:00:00", "<<", "=", "*a", "&a x", "!!int 3", "!!python/object:os.system x", "! 3"),
    *(
        "[1, 2",
        "{a: 1}",
        "{a: 1, a: 2}",
        "[]",
        "[[]]",
        "'",
        '"',
        '"\\0"',
        '"\\uD800"',
        "a: b",
        "# x",
        "x # y",
        "%x",
        "@x",
    ),
    *(
        "\t",
        "\x00",
        "\x1b[31m",
        "\u2028",
        "\ufeff",
        "é",
        "e\u0301",
        "\U0001f3a5",
        "|",
        ">",
        "- 1",
        "? a",
        "x" * 300,
        "../x",
        "/",
    ),
)
BUILT_IN = sorted(recipes.BUILT_IN.glob("*.yaml"))
_SECTIONS = {name: held for name, held in recipes.to_dict(recipes.load("demo_tsn")).items() if isinstance(held, dict)}
_VALUES = {f"{section}.{field}": value for section, held in _SECTIONS.items() for field, value in held.items()}
FIELDS = [
    *_VALUES,
    *("name", "train", "search.space.train.lr.choice", "search.space.train.lr", "search.space.x.y"),
    *("model.options.tiny", "model.options.a.b", "prepare.tvl1.tau", "", ".", "..", "name.x", "trian.lr"),
    *("train.lr.x", "<<", "a" * 300),
]


def text(number: int) -> bytes:
    """Return the damaged recipe file of this number."""
    rng = random.Random(number)
    content = rng.choice(BUILT_IN).read_text()
    for _ in range(rng.choice((0, 1, 1, 2, 3))):
        content = rng.choice(_DAMAGES)(content, rng)
    data = content.encode("utf-8", "surrogatepass")
    if number % 7 == 0:
        place = rng.randrange(len(data) + 1)
        data = data[:place] + rng.randbytes(rng.randint(1, 8)) + data[place + rng.randint(0, 8) :]
    return data


def word(number: int) -> str:
    """Return the word behind --set of this number."""
    rng = random.Random(number)
    field, value = rng.choice(FIELDS), rng.choice(SCALARS)
    if field in _VALUES and rng.random() < 0.3:
        value = json.dumps(_VALUES[field])
    elif rng.random() < 0.3:
        value = rng.choice(("[{}]", "[0.1, {}]", "{{choice: [{}]}}", "'{}'", "{} # x", "{}\n{}")).replace("{}", value)
    return f"{field}{'=' if rng.random() < 0.97 else ''}{value}"


def hold(number: int, folder: Path) -> str:
    """Read the recipe and the `--set` word with this number; return whether they were taken or refused.

    Raises:
        AssertionError: one became neither a recipe nor a one-line error, or took too long.
    """
    file = folder / f"recipe-{number:06d}.yaml"
    file.write_bytes(text(number))
    ends = [_read(file), _read("demo_tsn", word(number))]
    file.unlink()
    return " ".join(ends)


def _read(given: Path | str, *overrides: str) -> str:
    begin = time.process_time()
    try:
        with _limited():
            recipe = recipes.load(given, overrides)
    except USER_ERRORS as error:
        said = str(error)
        assert len(said) < LONGEST, f"a refusal of {len(said)} characters"
        assert said.splitlines() == [said], f"a refusal of several lines: {said!r}"
        end = "refused"
    else:
        # What was read is what is kept, and reads back as itself.
        assert recipes.parse(yaml.safe_load(recipes.dump(recipe))) == recipe
        end = "read"
    assert time.process_time() - begin < LIMIT_S
    return end


@contextmanager
def _limited() -> Iterator[None]:
    """End the block with an exception when the time is up."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise AssertionError(f"not read after {LIMIT_S:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 3 * LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _line(content: str, rng: random.Random) -> str:
    """Give the value of one line another value."""
    lines = content.splitlines() or [""]
    index = rng.randrange(len(lines))
    lines[index] = f"{lines[index].partition(':')[0]}: {rng.choice(SCALARS)}"
    return "\n".join(lines) + "\n"


def _twice(content: str, rng: random.Random) -> str:
    """Repeat a line, or move it."""
    lines = content.splitlines() or [""]
    line = rng.choice(lines)
    lines.insert(rng.randrange(len(lines) + 1), line)
    return "\n".join(lines) + "\n"


def _cut(content: str, rng: random.Random) -> str:
    """Cut the end off, or a piece out of the middle."""
    first, last = sorted(rng.randrange(len(content) + 1) for _ in range(2))
    return content[:first] + (content[last:] if rng.random() < 0.5 else "")


def _insert(content: str, rng: random.Random) -> str:
    """Put something in anywhere."""
    place = rng.randrange(len(content) + 1)
    return content[:place] + rng.choice((*SCALARS, *":[]{}&*!|>'\"#,-?%")) + content[place:]


def _indent(content: str, rng: random.Random) -> str:
    """Indent a line otherwise."""
    lines = content.splitlines() or [""]
    index = rng.randrange(len(lines))
    lines[index] = " " * rng.randint(0, 6) + lines[index].lstrip()
    return "\n".join(lines) + "\n"


def _bomb(content: str, rng: random.Random) -> str:
    """Add aliases of aliases, or depth."""
    wide, high = rng.randint(2, 12), rng.randint(2, 40)
    if rng.random() < 0.3:
        return f"{content}\nx: {'[' * 10 * high}{']' * 10 * high}\n"
    kind = rng.choice(("[{}]", "{{<<: [{}]}}")).replace("{{", "{").replace("}}", "}")
    lines = [f"a0: &a0 {rng.choice(('[x]', '{x: 1}', 'x', '*a0', '[*a0]'))}"]
    lines += [f"a{i}: &a{i} {kind.replace('{}', ', '.join([f'*a{i - 1}'] * wide))}" for i in range(1, high)]
    return content + "\nevaluate:\n" + "".join(f"  {line}\n" for line in lines)


_DAMAGES = (_line, _line, _line, _twice, _cut, _insert, _indent, _bomb)
