"""Where a run comes from: recipe, versions, seeds, machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distilnlp.html.blocks import Block, Code, Facts, Section
from distilnlp.html.evidence import Evidence
from distilnlp.report.drawing import draw_stages
from distilnlp.report.escape import one_line
from distilnlp.yaml_text import write_yaml

__all__ = ["about_section"]


def about_section(evidence: Evidence) -> Section:
    """Everything that is needed to make the run again."""
    report, environment = evidence.report, evidence.environment
    facts = [
        ("recipe", report.name),
        ("task", report.task),
        ("data", report.source),
        ("on the Hub", report.dataset_id),
        ("kind of task", report.problem_type),
        ("precision", environment.get("precision")),
        ("seeds", _listed(environment.get("seeds"))),
        ("machine", _listed(environment.get("machine"))),
        ("revision", _listed(environment.get("git"))),
        ("versions", _listed(report.versions or environment.get("versions"))),
    ]
    blocks: list[Block] = [Facts([(name, one_line(str(value))) for name, value in facts if value])]
    stages = draw_stages(report.recipe) if report.recipe.get("stages") else []
    if stages:
        blocks.append(Code("Who is made of what", "\n".join(stages)))
    if report.recipe:
        blocks.append(Code("Recipe, as it was resolved", write_yaml(report.recipe)))
    if report.sources:
        blocks.append(
            Code("Where the losses are published", "\n".join(f"{k}: {v}" for k, v in report.sources.items()))
        )
    return Section("about", "How it was made", blocks)


def _listed(values: Any) -> str:
    if not isinstance(values, Mapping):
        return ""
    return ", ".join(f"{name} {_plain(value)}" for name, value in values.items())


def _plain(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
