"""The prose reads as native English, as far as patterns can tell: each kind of slip stands at zero."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from paths import ROOT

pytestmark = pytest.mark.quick

PACKAGES = ("models", "tasks", "pipelines", "cluster")
CODE = [*(path for name in PACKAGES for path in (ROOT / name).rglob("*.py")), ROOT / "marey.py"]
OTHER = [
    *(ROOT / "pipelines" / "recipes").glob("*.yaml"),
    *(path for name in PACKAGES for path in (ROOT / name).rglob("*.j2")),
    *ROOT.glob("*.md"),
    *(ROOT / "docs").rglob("*.md"),
    ROOT / "Makefile",
]

COUNTED = (
    r"(?:classes|clips?|crops|frames?|images?|JPEGs?|lines?|pairs(?:/s)?|pixels?|rows?|shards?|slices|steps?|times|trials"
    r"|videos?|views|ms|MB|KB|MiB|GMACs)"
)
UNIT = (
    r"(?:channel|class|clip|core|epoch|frame|machine|network|node|pair|position|sample|second|shard|step|trial|video"
    r"|worker)"
)
KINDS = {
    "a contradiction; say 'x must be at least 1, not 0'": r"\bis not right\b",
    "'is no csv file'; say 'is not a CSV file'": (
        r"(?<![Tt]here )\b(?:is|are) no (?!(?:longer|more|fewer|less|worse|motion)\b)[a-z]"
    ),
    "'sentence' for an error of one line": r"\bsentences?\b",
    "'a' for 'per'": rf"\b{COUNTED} an? {UNIT}\b",
    "'our reading of'; say 'our reimplementation, from the abstract, of'": r"\b[Oo]ur reading of\b",
    "a riddle for a heading": r"(?m)^#+ (?:Two commands|The data's way|The house)$|\blooking:|\beverywhere:",
    "a clipped clause": r"\bwhen its checksum does\b|\bdoes as well\b",
    "'what became of', 'is worth', 'tells'": r"\bbecame of\b|\b(?:is|are|was|were) worth\b|\btells\b",
    "'the way back' for the backward pass": r"\bthe way back\b|\bits input alone\b",
    "'right way round' for the direction": r"\bright way round\b",
    "'factor of the rate' for a multiplier": r"\b[Ff]actor of the (?:learning )?rate\b",
    "an error that does not name the thing": r"\bwhat is .{1,12} for\?",
    "a metaphor": r"\b_HOME\b|\blays? before\b|\bLay [\d,]+\b|\bthe field's helper\b",
    "a verb that does not say what is done": r"\bdef (?:settle|expect|dataset)\(",
}
FRAGMENT = re.compile(r"Of\b|(?:Its|Their|The block's) \w+\.$|Logits\.$")
NOUN_PHRASE = re.compile(
    r"(?:The|A|An|What|Which|Whether|How|Where|Its|One|All|Every|Each|Both|Names? of|Size of|Content of)\b"
)


@cache
def text(path: Path) -> str:
    return path.read_text()


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(text(path))


def lines(pattern: str) -> Iterator[str]:
    """Each place where the pattern stands in the packages, their recipes and pages, and the documents."""
    for path in (*CODE, *OTHER):
        for match in re.finditer(pattern, text(path)):
            number = text(path).count("\n", 0, match.start()) + 1
            yield f"{path.relative_to(ROOT)}:{number}: {match[0]}"


@pytest.mark.parametrize("kind", KINDS)
def test_no_slip_of_this_kind(kind):
    assert not list(lines(KINDS[kind]))


def strings(module: ast.Module) -> Iterator[tuple[int, str]]:
    """Docstrings, and the strings below a field, with their line."""
    for holder in filter(lambda node: isinstance(getattr(node, "body", None), list), ast.walk(module)):
        for statement in holder.body:
            value = getattr(statement, "value", None) if isinstance(statement, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield statement.lineno, value.value


def test_no_docstring_is_a_fragment():
    found = [
        f"{path.relative_to(ROOT)}:{line}: {words.splitlines()[0]}"
        for path in CODE
        for line, words in strings(tree(path))
        if FRAGMENT.match(words)
    ]
    assert not found


def test_functions_are_described_in_the_imperative_and_properties_by_a_noun():
    found = []
    for path in CODE:
        for node in ast.walk(tree(path)):
            words = ast.get_docstring(node) if isinstance(node, ast.FunctionDef) else None
            if not words:
                continue
            noun = any("property" in ast.unparse(decorator) for decorator in node.decorator_list)
            if bool(NOUN_PHRASE.match(words)) > noun or (noun and words.startswith("Return")):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}: {words.splitlines()[0]}")
    assert not found
