"""A real Chromium, and what it finds wrong with a page: names that are cut, columns without any value."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Frame, Page, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync"]
LAPTOP = {"width": 1440, "height": 900}
PATIENCE_MS = 60_000


@contextmanager
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*QUIET, "--disable-component-update"])
        try:
            yield browser
        finally:
            browser.close()


def cut_names(page: Page | Frame, within: str = "body") -> list[str]:
    """Texts of which a part cannot be read: hidden by their box, or outside of the page or picture that they are in."""
    return page.locator(within).first.evaluate(CUT)


def empty_columns(page: Page | Frame) -> list[str]:
    """Heads of columns of a page's tables of which no cell holds anything."""
    return page.evaluate(EMPTY)


def has_blank_border(png: bytes) -> bool:
    """Whether nothing that was drawn touches the border of a picture, as a text that is cut does."""
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    border = np.concatenate([pixels[:2].reshape(-1, 3), pixels[-2:].reshape(-1, 3), *pixels[:, [0, -1]]])
    return bool((border == border[0]).all())


CUT = """root => {
  const cut = [];
  for (const element of root.querySelectorAll("*")) {
    const own = [...element.childNodes].filter(node => node.nodeType === 3 && node.data.trim());
    if (!own.length || ["SCRIPT", "STYLE", "TITLE", "NOSCRIPT"].includes(element.tagName)) continue;
    const range = document.createRange();
    range.selectNodeContents(element);
    const text = range.getBoundingClientRect();
    if (!text.width || getComputedStyle(element).visibility === "hidden") continue;
    let box = null;
    for (let above = element; above; above = above.parentElement) {
      const style = getComputedStyle(above), hides = ["hidden", "clip"].includes(style.overflowX);
      if (hides || above.tagName === "svg") { box = above.getBoundingClientRect(); break; }
      if (["auto", "scroll"].includes(style.overflowX)) { box = "scrolls"; break; }
    }
    if (box === "scrolls") continue;
    box = box || { left: 0, right: document.documentElement.clientWidth };
    if (text.left < box.left - 1 || text.right > box.right + 1) cut.push(element.textContent.trim().slice(0, 80));
  }
  return cut;
}"""

EMPTY = """() => {
  const empty = [];
  for (const table of document.querySelectorAll("table")) {
    const rows = [...table.querySelectorAll("tbody tr")].filter(row => !row.hidden);
    const heads = [...table.querySelectorAll("thead th, thead td")];
    heads.forEach((head, place) => {
      const cells = rows.map(row => row.children[place]).filter(cell => cell);
      const full = cell => cell.querySelector("img, svg") || !["", "-"].includes(cell.textContent.trim());
      const name = head.textContent.trim();  // what has none is a drawing
      if (name && cells.length && !cells.some(full)) empty.push(name);
    });
  }
  const values = [...document.querySelectorAll("dd")].filter(value => !value.textContent.trim());
  empty.push(...values.map(value => value.previousElementSibling.textContent.trim()));
  return empty;
}"""
