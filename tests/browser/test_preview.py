"""The page of `marey preview` in a real Chromium."""

from __future__ import annotations

import pytest
from awkward import MARKUP, NO_VIDEOS, OK, SETTINGS, write_awkward
from browser import cut_names, empty_columns
from playwright.sync_api import Page, expect
from prepared import prepare_here

from pipelines.preview import preview
from pipelines.preview.failures import AT_ONCE

pytestmark = pytest.mark.browser
MORE = 230
ALL = len(NO_VIDEOS) + MORE


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> str:
    root = tmp_path_factory.mktemp("preview")
    dataset = prepare_here(write_awkward(root / "source", MORE), root / "dataset", SETTINGS)
    preview(dataset, str(root / "page.html"))
    return (root / "page.html").as_uri()


@pytest.fixture
def page(browser, url):
    """The page, which must neither complain, nor ask for anything, nor run what stands in a name."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text))
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("dialog", lambda dialog: (trouble.append(dialog.message), dialog.dismiss()))
    page.on("request", lambda request: trouble.extend([request.url] * (not request.url.startswith(("data:", url)))))
    page.goto(url)
    yield page
    page.close()
    assert not trouble


def rows(page: Page):
    return page.locator("table.failures tbody tr")


def test_every_image_is_seen(page: Page) -> None:
    images = page.locator("img")
    expect(images).to_have_count(1 + 2 * OK)
    page.evaluate("Promise.all([...document.images].map(image => image.decode()))")
    assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0 && image.alt)")
    expect(page.get_by_role("heading", name=MARKUP)).to_be_visible()


def test_failures_are_filtered_and_shown_bit_by_bit(page: Page) -> None:
    expect(rows(page)).to_have_count(AT_ONCE)
    page.get_by_role("button", name=f"Show {ALL - AT_ONCE} of {ALL - AT_ONCE} more").click()
    expect(rows(page)).to_have_count(ALL)
    expect(page.get_by_role("button")).to_have_count(0)

    field = page.get_by_label("Filter")
    field.fill("<SCRIPT> unreadable")
    expect(rows(page)).to_have_count(1)
    expect(rows(page)).to_contain_text("<script>alert(2)<script>")
    expect(page.locator("output")).to_have_text(f"1 of {ALL}")
    field.fill("nothing has this name")
    expect(rows(page)).to_have_count(0)
    field.fill("")
    expect(rows(page)).to_have_count(AT_ONCE)


@pytest.mark.parametrize("width", [390, 1280])
def test_without_javascript_all_failures_are_there(browser, url, width: int) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": width, "height": 844})
    page = context.new_page()
    page.goto(url)
    expect(rows(page)).to_have_count(ALL)
    expect(rows(page).last).to_be_visible()
    expect(page.get_by_label("Filter")).to_be_hidden()
    context.close()


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_runs_out_of_the_window(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for text in page.locator("h1, h2, h3, dd, .failures td").all()[:60]:
        box = text.bounding_box()
        assert box is None or (box["x"] >= 0 and box["x"] + box["width"] <= width)


def test_no_name_is_cut_and_no_column_is_empty(page: Page) -> None:
    assert cut_names(page) == []
    assert empty_columns(page) == []


def test_text_can_be_read_in_light_and_dark(page: Page) -> None:
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for selector in ("h1", "dt", "td", "figcaption span", ".alarm dd", "nav a", ".none", "label", "#more"):
            ratio = page.locator(selector).first.evaluate(CONTRAST)
            assert ratio >= 4.5, (scheme, selector, ratio)


CONTRAST = """element => {
  const light = text => {
    const [r, g, b] = text.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
      .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  let ground = element;
  while (getComputedStyle(ground).backgroundColor === "rgba(0, 0, 0, 0)") ground = ground.parentElement;
  const [a, b] = [getComputedStyle(element).color, getComputedStyle(ground).backgroundColor].map(light);
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}"""
