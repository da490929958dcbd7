"""Links between the pages lead somewhere, and the pages name files and messages that exist."""

from __future__ import annotations

import ast
import re
import runpy
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest
from paths import ROOT

import marey

pytestmark = pytest.mark.quick

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")
PACKAGES = ("models", "tasks", "pipelines", "cluster")


def prose(page: Path) -> str:
    """Its text without code blocks, where nothing is a link or a heading."""
    return re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


@cache
def anchors(page: Path) -> set[str]:
    """The anchors that GitHub, and the site, give a page's headings."""
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} (.+)$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
        again = 0
        while (unique := slug if not again else f"{slug}-{again}") in found:
            again += 1
        found.add(unique)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    for target in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target} is not a file"
        if anchor:
            assert file.suffix == ".md", f"{target} has an anchor and is not a page"
            assert anchor in anchors(file), f"{file.name} has no heading for {target}"


def test_no_page_of_the_site_links_out_of_its_folder():
    """The site is built from docs/ alone: what lies beside it has no address there."""
    for page in (ROOT / "docs").rglob("*.md"):
        for target in LINK.findall(prose(page)):
            path = target.partition("#")[0]
            if path and not re.match(r"[a-z]+:", path):
                assert (page.parent / path).resolve().is_relative_to(ROOT / "docs"), f"{page.name}: {target}"


def test_every_page_is_in_the_contents():
    contents = re.findall(r"```\{toctree\}\n(.*?)```", (ROOT / "docs" / "index.md").read_text(), re.DOTALL)
    listed = {line for block in contents for line in block.splitlines()}
    for page in (ROOT / "docs").glob("*.md"):
        assert page.stem == "index" or page.stem in listed, f"{page.name} is not in the contents"
    assert all((ROOT / "docs" / f"{name}.md").exists() for name in listed if re.fullmatch(r"[\w/-]+", name))


def test_the_architecture_page_names_files_that_exist():
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = {name for name in re.findall(r"[\w./-]+", text) if name.startswith(tuple(f"{p}/" for p in PACKAGES))}
    assert len(named) > 25
    for name in sorted(named):
        assert (ROOT / name.rstrip(".")).exists(), f"{name} does not exist"


def messages() -> Iterator[str]:
    """The texts that marey prints, from its code and its set-up; `...` is what is filled in."""
    for path in (*(path for name in PACKAGES for path in (ROOT / name).rglob("*.py")), ROOT / "marey.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "..." for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
    yield from re.findall(r"echo '([^']*)'", (ROOT / "Makefile").read_text())


def test_the_troubleshooting_page_quotes_messages_that_exist():
    quoted = re.findall(r"^### `(.*)`$", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    assert len(quoted) > 25
    known = list(messages())
    for message in quoted:
        pieces = [re.escape(piece) for piece in message.split("...") if piece.strip()]
        pattern = re.compile(".*?".join(pieces), re.DOTALL | re.IGNORECASE)
        assert any(pattern.search(text) for text in known), f"no message reads: {message}"


def test_the_script_of_the_picture_loads():
    loaded = runpy.run_path(str(ROOT / "docs" / "pictures" / "demo.py"))
    assert set(loaded["SHOWN"]) <= {action.name for action in loaded["actions"]()}


def test_the_reference_names_what_exists():
    """And all that `import marey` offers, so that the site's build does not find it out first."""
    module, named = "", set()
    for line in (ROOT / "docs" / "reference.md").read_text().splitlines():
        if match := re.match(r"\.\. currentmodule:: (\S+)", line):
            module = match[1]
        elif match := re.match(r"\.\. auto\w+:: (\w+)", line):
            named.add((module, match[1]))
    own = [(module, name) for module, name in named if module != "marey"]
    assert all(hasattr(import_module(module), name) for module, name in own)
    offered = set(marey.__all__) - {"USER_ERRORS"}
    assert {name for module, name in named if module == "marey"} <= offered
    assert offered <= {name for _, name in named}
