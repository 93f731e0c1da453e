"""Inside a run's last student and its teacher: what their heads look at, and how much room a layer takes."""

import json
from pathlib import Path

import numpy as np

from distilnlp.analysis.representation import effective_rank, proposed_layer_map
from distilnlp.errors import DistilError, RequestError
from distilnlp.html.evidence import Evidence
from distilnlp.recipe import load_recipe
from distilnlp.recipe.names import is_stage_name
from distilnlp.report.escape import one_line
from distilnlp.run.finding import Finding, Value
from distilnlp.run.folder import RECIPE, RunFolder
from distilnlp.run.likeness import SAMPLE, compare_attention, read_layers
from distilnlp.run.plan import make_plan

__all__ = ["attention_finding", "rank_finding"]


def attention_finding(run: str, evidence: Evidence) -> Finding:
    """``KL(teacher || student)`` of each head of the last student and the teacher's head that is nearest to it.

    Layers are paired by the map that follows from their CKA.

    Raises:
        RequestError: no layers to compare, or an attention that cannot be read.
    """
    similarity = evidence.similarity
    if similarity is None or not 1 < similarity.values.shape[0] <= similarity.values.shape[1]:
        raise RequestError(f"{run}: no attention to compare: {_why(evidence)}")
    pairs = proposed_layer_map(similarity.values).pairs
    rows: list[list[Value]] = []
    student, teacher, pooling = _places(run, evidence)
    for (own, other), values in compare_attention(student, teacher, _texts(evidence), pairs, pooling).items():
        for head, apart in enumerate(values):
            same = float(apart[head]) if len(values) == len(apart) else None
            rows.append([own, other, head, int(apart.argmin()), float(apart.min()), same])
    header = ("student layer", "teacher layer", "head", "nearest", "KL to nearest", "KL to same")
    notes = [
        f"{one_line(similarity.student)} with {one_line(similarity.teacher)}; KL(teacher || student) in nats, mean"
        f" over the tokens of {len(_texts(evidence))} texts; heads from 0, layers by"
        f" layer_map: {json.dumps([list(pair) for pair in pairs])}"
    ]
    return Finding("attention", run, header, rows, notes)


def rank_finding(run: str, evidence: Evidence) -> Finding:
    """The effective rank of each layer of the last student and of its teacher, embeddings first.

    Raises:
        RequestError: no layers to look at.
    """
    similarity = evidence.similarity
    if similarity is None:
        raise RequestError(f"{run}: no layers to look at: {_why(evidence)}")
    rows: list[list[Value]] = []
    student, teacher, pooling = _places(run, evidence)
    for name, place, pooled in ((similarity.student, student, None), (similarity.teacher, teacher, pooling)):
        for layer, states in enumerate(read_layers(place, _texts(evidence), pooled)):
            rows.append([name, layer, states.shape[1], effective_rank(np.asarray(states))])
    notes = [
        f"of the tokens of {len(_texts(evidence))} texts; 1: all on one line, at most the width. A student layer with"
        " far less than the teacher layer that it learns from has no room for it."
    ]
    return Finding("rank", run, ("model", "layer", "width", "effective rank"), rows, notes)


def _why(evidence: Evidence) -> str:
    return evidence.missing.get("similarity", "no student and teacher of layers, or their texts are not known")


def _texts(evidence: Evidence) -> list[tuple[object, ...]]:
    student = evidence.student
    assert student is not None  # there is a similarity
    examples = np.unique(evidence.predictions[student.stage].rows)[:SAMPLE]
    return evidence.texts[student.stage](examples.tolist())


def _places(run: str, evidence: Evidence) -> tuple[str, str, str | None]:
    """Folders of both, or the teacher a Hub id or a folder elsewhere; and how that one pools."""
    assert evidence.similarity is not None
    student, teacher = evidence.similarity.student, evidence.similarity.teacher
    try:
        pooling = make_plan(load_recipe(Path(run) / RECIPE)).poolings.get(teacher)
    except DistilError:  # the recipe's data or start weights are elsewhere now; the models of the run are not
        pooling = None
    folder = RunFolder(Path(run))
    inside = is_stage_name(teacher) and folder.is_finished(teacher)
    return str(folder.stage(student)), str(folder.stage(teacher)) if inside else teacher, pooling
