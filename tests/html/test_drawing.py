"""A drawing takes its colours from the page, and leaves every text in it as it is."""

import re

import pytest

from distilnlp.html.drawing import INK, SERIES, figure, heat, legend_columns, short, to_svg

pytest.importorskip("matplotlib", reason="drawings are made with it")

NAMES = ("0.7744", 'id="x" url(#a)', "$\\frac{1}{0}$", "<b>&", "\u65e5\u672c")


@pytest.fixture(scope="module")
def svg() -> str:
    with figure(4, 3) as (drawn, axis):
        axis.plot([0, 1], [0.123456, 0.2], color=SERIES[0])
        axis.axhline(0.1, color=heat(0.5))
        for place, name in enumerate(NAMES):
            axis.text(0.1, 0.1 * place, name, color=INK)
        return to_svg(drawn, "mine")


def test_texts_are_as_they_were_given(svg: str):
    texts = re.findall(r">([^<>]+)</text>", svg)
    assert {"0.7744", 'id="x" url(#a)', "$\\frac{1}{0}$", "&lt;b&gt;&amp;", "\u65e5\u672c"} <= set(texts)


def test_colours_are_the_page_s(svg: str):
    assert "stroke: var(--series-1)" in svg
    assert "fill: var(--ink)" in svg
    assert "color-mix(in srgb, var(--heat) 50%, var(--ground))" in svg
    assert "#0102" not in svg and "#0103" not in svg


def test_ids_are_its_own(svg: str):
    tags = "".join(re.findall(r"<[^>]*>", svg))
    assert all(each.startswith("mine-") for each in re.findall(r'\bid="([^"]*)"', tags))
    used = re.findall(r'(?:url\(|href=")#([^")]*)', tags)
    assert used and set(used) <= set(re.findall(r'\bid="([^"]*)"', tags))


@pytest.mark.parametrize(("longest", "columns"), [(4, 3), (12, 2), (16, 1), (28, 1), (300, 1)])
def test_a_legend_has_as_many_columns_as_its_names_have_room_for(longest: int, columns: int):
    """Measured: a name is cut by the edge of the picture where there are more."""
    names = ["loss", *("x" * longest for _ in range(3))]
    assert legend_columns(names, 3.8) == columns
    with figure(3.8, 3.0) as (drawn, axis):
        for name in names:
            axis.plot([0, 1], [0, 1], label=short(name))
        legend = drawn.legend(loc="outside lower center", ncols=columns)
        drawn.canvas.draw()
        box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= drawn.bbox.width
