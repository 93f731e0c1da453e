"""The page about a run: one HTML file that needs nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from distilnlp.errors import RequestError
from distilnlp.html.about import about_section
from distilnlp.html.answers import classes_section
from distilnlp.html.blocks import LeftOut, Section, Tile
from distilnlp.html.calibrated import calibration_section
from distilnlp.html.confidence import agreement_section
from distilnlp.html.differences import MOST_TEXTS, differences_section
from distilnlp.html.evidence import Evidence
from distilnlp.html.models import cost_section, models_section, similarity_section
from distilnlp.html.noise import difference_of, score_intervals
from distilnlp.html.step_time import step_time_section
from distilnlp.html.training import layers_section, learning_section, losses_section
from distilnlp.html.verdict import tiles, verdict
from distilnlp.report.escape import visible
from distilnlp.report.plotting import need_drawing
from distilnlp.whole_files import write_text

__all__ = ["render_page", "write_html", "write_page_file"]


def render_page(evidence: Evidence, *, texts: int = MOST_TEXTS) -> str:
    """A run as an HTML page.

    Sections for which the run has no data are left out; what is left out, and why, stands at the end.

    Args:
        evidence: of the run.
        texts: how many of the texts on which student and teacher differ most are shown; 0 where they are private.
    Raises:
        RequestError: the drawing library is not installed.
    """
    need_drawing("the report")
    intervals: dict[str, tuple[float, float]] = {}
    for group in evidence.held_out:
        intervals |= score_intervals(group)
    student = evidence.student
    measured = next((group for group in evidence.held_out if student is not None and student in group.rows), None)
    gain = None
    if measured is not None and student is not None:
        gain = difference_of(measured, measured.find(student.stage), measured.control)
    sections = [
        models_section(evidence, intervals),
        cost_section(evidence.report.stages),
        losses_section(evidence),
        learning_section(evidence),
        step_time_section(evidence),
        classes_section(evidence),
        calibration_section(evidence),
        agreement_section(evidence),
        differences_section(evidence, texts),
        similarity_section(evidence),
        layers_section(evidence),
        about_section(evidence),
    ]
    title = evidence.report.name or evidence.report.task or "Run"
    return write_html(title, sections, verdict(evidence, gain), tiles(evidence, gain))


def write_html(
    title: str, sections: Sequence[Section | LeftOut], sentences: Sequence[str] = (), shown: Sequence[Tile] = ()
) -> str:
    """A page of sections.

    Args:
        title: of the page.
        sections: in their order; of those that are left out the reason is told.
        sentences: below the title, the most important first.
        shown: numbers below them.
    """
    script = _resource("sort.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text: str = _template().render(
        title=title,
        version=version("distilnlp"),
        verdict=sentences,
        tiles=shown,
        sections=[section for section in sections if isinstance(section, Section)],
        left_out=[section for section in sections if isinstance(section, LeftOut)],
        css=Markup(_resource("page.css")),
        script=Markup(script),
        script_hash=f"sha256-{digest}",
    )
    return text


def write_page_file(path: Path, page: str) -> Path:
    """Write a page, complete or not at all.

    Args:
        path: of the file.
        page: its text.
    Returns:
        The path.
    Raises:
        RequestError: there is no such folder, or the path is a folder itself.
    """
    if not path.parent.is_dir():
        raise RequestError(f"'{path.parent}' is not a folder: name a file in a folder that is there")
    if path.is_dir():
        raise RequestError(f"'{path}' is a folder: name a file")
    try:
        write_text(path, page)
    except OSError as error:
        raise RequestError(f"'{path}' cannot be written ({error.strerror}): name another file") from error
    return path


@cache
def _template() -> Any:
    environment = Environment(
        autoescape=True,
        loader=FunctionLoader(_resource),
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
    )
    return environment.get_template("page.html.jinja")


def _finalized(value: Any) -> Any:
    """What a template is about to write: of every text that is not ours, what cannot be seen is made visible."""
    return visible(value) if type(value) is str else value


def _resource(name: str) -> str:
    return files("distilnlp.html").joinpath(name).read_text("utf-8")
