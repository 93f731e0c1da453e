"""Figures of matplotlib as SVG that takes its colours from the page, so that one drawing fits light and dark."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from distilnlp.report.escape import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "GRID",
    "INK",
    "PALE",
    "SERIES",
    "figure",
    "heat",
    "legend_columns",
    "short",
    "style",
    "to_svg",
]

# Colours that stand for the variables of the page's style: no drawing uses them for anything else.
INK, MUTED, GRID, PALE = "#010203", "#010204", "#010205", "#010206"
SERIES = ("#010211", "#010212", "#010213", "#010214", "#010215", "#010216")
_VARIABLES = {INK: "--ink", MUTED: "--muted", GRID: "--line", PALE: "--pale"}
_VARIABLES |= {colour: f"--series-{number}" for number, colour in enumerate(SERIES, 1)}
DASHES: Sequence[object] = ("-", "--", ":", "-.", (0, (5, 1, 1, 1)), (0, (1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P")
LONGEST_NAME = 28


def style(place: int) -> dict[str, Any]:
    """Colour, dash and mark of a line by its place, so that lines differ without colours too."""
    return {
        "color": SERIES[place % len(SERIES)],
        "linestyle": DASHES[place % len(DASHES)],
        "marker": MARKERS[place % len(MARKERS)],
    }


@contextmanager
def figure(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    """An empty figure in the page's style; without a window, and without mathematics.

    Args:
        width, height: in inches of 72 points. A page 390 pixels wide has 342 for it: letters of 10 points in 5.9
            inches are 8 pixels high there.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    settings: dict[Any, Any] = {
        "axes.axisbelow": True,
        "axes.edgecolor": GRID,
        "axes.grid": True,
        "axes.labelcolor": INK,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlecolor": INK,
        "axes.titlesize": 11,
        "font.size": 10,
        "grid.color": GRID,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "legend.labelcolor": INK,
        "lines.linewidth": 1.8,
        "lines.markersize": 4,
        "svg.fonttype": "none",
        "svg.hashsalt": "distilnlp",
        "text.color": INK,
        "text.parse_math": False,  # a dollar in a name is a dollar
        "xtick.color": GRID,
        "xtick.labelcolor": INK,
        "ytick.color": GRID,
        "ytick.labelcolor": INK,
    }
    with rc_context(settings), warnings.catch_warnings():
        # Names in any script: the browser has the letters that the font in use for the layout lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        warnings.filterwarnings("ignore", message="constrained_layout not applied", category=UserWarning)
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support .* natively")
        made = Figure(figsize=(width, height), layout="constrained")
        made.patch.set_alpha(0.0)
        axes = made.subplots()
        axes.patch.set_alpha(0.0)
        yield made, axes


def short(name: str) -> str:
    """A name as it has room in a drawing: its end, which tells two of them apart."""
    line = one_line(name).lstrip("_") or "-"  # a legend leaves out what begins so
    return line if len(line) <= LONGEST_NAME else f"..{line[2 - LONGEST_NAME :]}"


def legend_columns(names: Iterable[str], width: float) -> int:
    """In how many columns the names of a legend have room in a figure of so many inches, 1 to 4."""
    longest = max((len(short(name)) for name in names), default=1)
    return max(1, min(4, int(72 * width / (48 + 6 * longest))))


def heat(value: float) -> str:
    """A colour for a share from 0 to 1, that `to_svg` turns into a mixture of the page's colours."""
    return f"#0103{round(100 * min(1.0, max(0.0, value))):02x}"


_MIXED = re.compile(r"#0103([0-9a-f]{2})")
_ROOT = re.compile(r"<svg.*?>", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>\s*", re.DOTALL)
_COMMENT = re.compile(r"<!--.*?-->\s*", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_NUMBER = re.compile(r"(\d+\.\d{2})\d+")


def to_svg(drawn: Figure, name: str) -> Markup:
    """A figure as an ``<svg>`` element, to stand in a page.

    Args:
        drawn: made by `figure`.
        name: in front of its ids, which are then the only ones in the page.
    """
    text = StringIO()
    drawn.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = _COMMENT.sub("", _METADATA.sub("", svg))
    width, height = (72 * inches for inches in drawn.get_size_inches())
    # Hidden from who hears the page: the element around it says what is to be seen.
    root = f'<svg viewBox="0 0 {width:g} {height:g}" width="{4 * width / 3:.0f}" aria-hidden="true" focusable="false">'
    svg = _ROOT.sub(root, svg, count=1)
    return Markup(_TAG.sub(lambda tag: _in_page(tag[0], name), svg))  # matplotlib escapes all texts


def _in_page(tag: str, name: str) -> str:
    """A tag of a drawing with ids of its own, the page's colours and letters, and shorter numbers."""
    tag = tag.replace('id="', f'id="{name}-').replace("url(#", f"url(#{name}-")
    tag = re.sub(r'(xlink:href|href)="#', f'href="#{name}-', tag)
    for colour, variable in _VARIABLES.items():
        tag = tag.replace(colour, f"var({variable})")
    tag = _MIXED.sub(lambda found: f"color-mix(in srgb, var(--heat) {int(found[1], 16)}%, var(--ground))", tag)
    tag = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 system-ui, sans-serif", tag)
    return _NUMBER.sub(r"\1", tag)
