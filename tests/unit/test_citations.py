"""Pages and sections that code, tests, recipes and docs name exist, and so do the equations that docstrings name."""

from __future__ import annotations

import ast
import re
from functools import cache
from itertools import chain
from pathlib import Path

import pytest
from paths import ROOT

pytestmark = pytest.mark.quick

PACKAGES = ("models", "tasks", "pipelines", "cluster")
FOLDERS = (*PACKAGES, "tests", "docs", ".ci", ".github")
NAMES = {"Makefile", "run"}
ENDINGS = {".py", ".md", ".yaml", ".yml", ".toml", ".sh"}
PAGE = re.compile(r"\bdocs/[\w./-]+\.md\b")
CITATION = re.compile(r"\b(docs/[\w./-]+\.md), sections? ((?:\d+(?:, | and | to )?)+)")
BARE = re.compile(r"(?<!docs/)\bpapers/[\w-]+\.md")
EQUATION = re.compile(r"\b[Ee]quations? \((\d+)\)(?: (?:and|to) \((\d+)\))?")
NUMBERED = re.compile(r"\((\d+)\)$", re.MULTILINE)
"""An equation's number at the end of its line."""
FILE = re.compile(r"`((?:models|tasks|pipelines|cluster|tests)/[\w./-]+|test_\w+\.py)`")


def cited_from() -> list[Path]:
    """Every text of the repository that may name a page; the changelog also names pages that were."""
    below = chain.from_iterable((ROOT / folder).rglob("*") for folder in FOLDERS)
    files = [file for file in (*ROOT.glob("*"), *below) if file.name != "CHANGELOG.md"]
    return sorted(file for file in files if file.is_file() and (file.suffix in ENDINGS or file.name in NAMES))


def text_of(file: Path) -> str:
    """The file in one line, since a citation may be broken between two lines of a docstring or a comment."""
    return re.sub(r"\s*\n\s*(?:# ?|> ?)?", " ", file.read_text())


@cache
def sections(page: str) -> set[int]:
    """Numbers of the headings of a page."""
    return {int(number) for number in re.findall(r"^#+ (\d+)\. ", (ROOT / page).read_text(), re.MULTILINE)}


def numbers(named: str) -> set[int]:
    """`2, 3 and 7` or `2 to 5` as numbers."""
    first, *rest = (int(number) for number in re.findall(r"\d+", named))
    return set(range(first, rest[-1] + 1)) if " to " in named else {first, *rest}


def equations(text: str) -> set[str]:
    """Numbers of the equations that a text names."""
    return {number for pair in EQUATION.findall(text) for number in pair if number}


def numbered(page: str) -> set[str]:
    """Numbers of the equations of a page."""
    return set(NUMBERED.findall(page))


def test_pages_that_are_named_exist() -> None:
    for file in cited_from():
        for page in PAGE.findall(text_of(file)):
            assert (ROOT / page).is_file(), f"{file.relative_to(ROOT)} names {page}"


def test_sections_that_are_cited_exist() -> None:
    found = 0
    for file in cited_from():
        for page, named in CITATION.findall(text_of(file)):
            missing = numbers(named) - sections(page)
            assert not missing, f"{file.relative_to(ROOT)} cites {page}, section {missing}"
            found += 1
    assert found >= 30


def test_code_names_pages_by_their_path_in_the_repository() -> None:
    for folder in (*PACKAGES, "tests"):
        for file in (ROOT / folder).rglob("*.py"):
            assert file == Path(__file__) or not BARE.search(text_of(file)), file


def test_equations_of_docstrings_stand_on_the_page_that_the_file_cites() -> None:
    for folder in PACKAGES:
        for file in (ROOT / folder).rglob("*.py"):
            tree = ast.parse(file.read_text())
            documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
            texts = [ast.get_docstring(node) or "" for node in ast.walk(tree) if isinstance(node, documented)]
            missing = equations(" ".join(texts)) - {
                number for page in PAGE.findall(text_of(file)) for number in numbered((ROOT / page).read_text())
            }
            assert not missing, f"{file.relative_to(ROOT)} names equations {missing}, which no page that it cites has"


PAGES = sorted((ROOT / "docs/papers").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_equations_named_on_a_page_are_numbered_on_it(page: Path) -> None:
    assert equations(page.read_text()) <= numbered(page.read_text())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_files_that_a_page_names_exist(page: Path) -> None:
    for name in FILE.findall(page.read_text()):
        found = (ROOT / name).exists() if "/" in name else any((ROOT / "tests").rglob(name))
        assert found, f"{page.name} names {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_sections_of_a_page_are_numbered_from_one(page: Path) -> None:
    found = [int(number) for number in re.findall(r"^## (\d+)\. ", page.read_text(), re.MULTILINE)]
    assert found == list(range(1, len(found) + 1))
    assert found
