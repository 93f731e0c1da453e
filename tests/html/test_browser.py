"""The page in a real browser: nothing is fetched, nothing fails, whatever a text says; it can be read by all."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from distilnlp.html import render_page
from tests.html.browser import Browser, Page, browser, chromium
from tests.html.conftest import HOSTILE, SCRIPT, a_run

pytest.importorskip("matplotlib", reason="the page's pictures are drawn with it")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="there is no Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def opened(profile: Path) -> Iterator[Browser]:
    with browser(profile) as made:
        yield made


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run whose labels, texts and name are as hostile as can be."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    names = (HOSTILE["script"], HOSTILE["right to left"], HOSTILE["control characters"])
    evidence = a_run(names, " ".join(each for key, each in HOSTILE.items() if key != "half a pair"), SCRIPT)
    path.write_text(render_page(evidence), encoding="utf-8")
    return path


@pytest.fixture
def page(opened: Browser, file: Path) -> Page:
    return Page(opened, file)


def test_nothing_is_fetched_and_nothing_fails(page: Page, file: Path):
    assert page.requests == [file.as_uri()]
    assert page.said == []


def test_a_script_in_a_label_or_a_text_is_text(page: Page):
    assert page.value("document.title") == SCRIPT
    assert page.value("document.scripts.length") == 1
    assert page.value("document.querySelectorAll('main img, main script').length") == 0
    assert page.value("[...document.querySelectorAll('td, th')].some(cell => cell.textContent.includes('<script>'))")


@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_is_wider_than_the_window(page: Page, width: int):
    """A table may be, in a box that scrolls."""
    page.look(width)
    assert page.value("document.documentElement.scrollWidth") <= width


SMALLEST_LETTERS = """
Math.min(...[...document.querySelectorAll('svg')].flatMap(svg => {
  const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
  return [...svg.querySelectorAll('text')].map(text => scale * parseFloat(getComputedStyle(text).fontSize));
}))"""


@pytest.mark.parametrize("width", [1280, 390])
def test_the_letters_in_a_picture_can_be_read(page: Page, width: int):
    page.look(width)
    assert page.value(SMALLEST_LETTERS) >= 8


def test_pictures_that_belong_together_are_beside_each_other_where_there_is_room(page: Page):
    tops = "[...document.querySelectorAll('#losses .beside figure')].map(figure => figure.getBoundingClientRect().top)"
    page.look(1280)
    raw, weighted = page.value(tops)
    assert raw == weighted
    page.look(390)
    raw, weighted = page.value(tops)
    assert raw < weighted


def test_a_row_stays_low_whatever_its_text(page: Page):
    page.look(1280)
    assert page.value("Math.max(...[...document.querySelectorAll('tbody tr')].map(row => row.clientHeight))") < 400


def test_every_picture_says_what_is_to_be_seen(page: Page):
    count = "document.querySelectorAll('svg').length"
    assert page.value(count) >= 7
    said = page.value("[...document.querySelectorAll('svg')].map(svg => svg.closest('[role=img]').ariaLabel)")
    assert all(len(each) > 30 for each in said)


def test_a_table_sorts_by_a_column_by_keyboard_or_mouse(page: Page):
    first = "[...document.querySelectorAll('#models tbody tr')].map(row => row.cells[2].dataset.value * 1)"
    head = "document.querySelector('#models thead').rows[0].cells[2]"
    page.value(f"{head}.querySelector('button').click()")
    assert page.value(first) == sorted(page.value(first))
    assert page.value(f"{head}.ariaSort") == "ascending"
    page.value(f"{head}.querySelector('button').click()")
    assert page.value(first) == sorted(page.value(first), reverse=True)


def test_without_scripts_all_is_there_but_the_sorting(opened: Browser, file: Path):
    with_scripts = Page(opened, file).value("document.querySelector('main').innerText.replace(/\\s+/g, ' ')")
    page = Page(opened, file, scripts=False)
    assert page.value("document.querySelectorAll('th button').length") == 0
    assert page.value("document.querySelector('main').innerText.replace(/\\s+/g, ' ')") == with_scripts


def test_it_prints_to_a4(page: Page):
    pdf = page.pdf()
    assert pdf.startswith(b"%PDF")
    assert b"/MediaBox [0 0 595" in pdf or b"/MediaBox [0 0 594" in pdf


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The source of axe-core."""
    given = os.environ.get("DISTILNLP_NODE_DIR")
    folder = Path(given) if given else tmp_path_factory.mktemp("node")
    source = folder / "node_modules" / "axe-core" / "axe.min.js"
    if not source.is_file():
        if shutil.which("npm") is None:
            pytest.skip("there is no npm to install axe-core with")
        command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", folder, "axe-core@4"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            pytest.skip(f"npm could not install axe-core: {done.stderr.strip()[-200:]}")
    return source.read_text("utf-8")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
def test_axe_finds_nothing(opened: Browser, tmp_path: Path, axe: str, width: int, dark: bool):
    """Contrast, names, order of headings, tables: what a reader who sees or hears little needs."""
    path = tmp_path / "report.html"
    path.write_text(render_page(a_run()), encoding="utf-8")
    page = Page(opened, path)
    page.look(width, dark)
    page.value(axe)
    found = json.loads(page.value("axe.run().then(found => JSON.stringify(found.violations))"))
    assert [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found] == []
    checked = page.value("axe.run({runOnly: ['color-contrast']}).then(found => found.passes.length)")
    assert checked == 1
