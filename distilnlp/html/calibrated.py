"""Whether a model's probabilities are right: reliability diagram, calibration errors, and what would mend it."""

from __future__ import annotations

from distilnlp.html.blocks import LeftOut, Section
from distilnlp.html.evidence import Evidence

__all__ = ["calibration_section"]


def calibration_section(evidence: Evidence) -> Section | LeftOut:
    """Of each model whose answers have probabilities."""
    return LeftOut("Calibration", "there are no probabilities with right answers")
