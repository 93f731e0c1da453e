"""Trainer's ``label_smoothing_factor`` as the loss that it is here."""

import re
from collections.abc import Mapping
from typing import Any

from distilnlp.recipe.source import Document

__all__ = ["smooth_labels"]

FACTOR = "label_smoothing_factor"
_HARD, _SMOOTH = re.compile(r"hard_label(_\d+)?"), "label_smoothing"


def smooth_labels(document: Document) -> list[str]:
    """Put ``label_smoothing`` in place of ``hard_label`` where a stage's training has a ``label_smoothing_factor``.

    Trainer smooths the labels of its own loss, which an objective takes the place of.

    Args:
        document: a recipe, changed in place; no stage is `like` another one any more.
    Returns:
        a line for each stage that is changed.
    Raises:
        RequestError: no share; an objective that has no labels to smooth, or smooths them itself.
    """
    stages = document.values.get("stages")
    return [
        said
        for name, stage in (stages.items() if isinstance(stages, Mapping) else ())
        if isinstance(stage, Mapping) and FACTOR in (training := stage.get("training") or {})
        if isinstance(training, Mapping) and (said := _smooth(document, name, dict(stage), dict(training)))
    ]


def _smooth(document: Document, name: str, stage: dict[str, Any], training: dict[str, Any]) -> str:
    here = ("stages", name)
    path = (*here, "training", FACTOR)
    factor = training.pop(FACTOR)
    where = f"stages.{name}.training.{FACTOR}"
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 <= factor < 1:
        raise document.error(path, f"{where} is {factor!r}: a number from 0 to below 1 is needed")
    stage["training"] = training
    document.values["stages"] = {**document.values["stages"], name: stage}
    if not factor or stage.get("kind") == "transform" or stage.get("train") is False:
        return ""
    objective = stage.get("objective")
    if not objective and not stage.get("teacher"):
        objective = {"hard_label": {}}  # the labels alone, as nothing else is said
    if not isinstance(objective, Mapping):
        return ""  # what is wrong with it is told as it is
    if any(loss.startswith(_SMOOTH) for loss in map(str, objective)):
        raise document.error(path, f"{where} is in the objective too, as {_SMOOTH}: leave one out")
    smoothed = {loss: f"{_SMOOTH}{found[1] or ''}" for loss in objective if (found := _HARD.fullmatch(str(loss)))}
    if not smoothed:
        raise document.error(
            path, f"{where} smooths labels, and the objective has no hard_label: put it in, or leave this out"
        )
    stage["objective"] = {
        smoothed.get(loss, loss): {**(settings or {}), "epsilon": factor} if loss in smoothed else settings
        for loss, settings in objective.items()
    }
    for loss, new in smoothed.items():
        old = (*here, "objective", loss)
        for place in [each for each in document.places if each[: len(old)] == old]:
            document.places[(*here, "objective", new, *place[len(old) :])] = document.places[place]
        document.places[(*here, "objective", new, "epsilon")] = document.place(path)
        document.places.setdefault((*here, "objective", new), document.place(path))
    return f"{name}: {FACTOR} {factor:g} is the loss label_smoothing here, in place of hard_label"
