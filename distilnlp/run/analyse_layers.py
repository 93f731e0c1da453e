"""Inside a run's last student and its teacher: what their heads look at, and how much room a layer takes."""

import json

import numpy as np

from distilnlp.analysis.representation import effective_rank, proposed_layer_map
from distilnlp.errors import RequestError
from distilnlp.report.escape import one_line
from distilnlp.run.finding import Finding, Value
from distilnlp.run.likeness import compare_attention, read_layers
from distilnlp.run.page import FinishedRun

__all__ = ["attention_finding", "rank_finding"]


def attention_finding(name: str, run: FinishedRun) -> Finding:
    """``KL(teacher || student)`` of each head of the last student and the teacher's head that is nearest to it.

    Layers are paired by the map that follows from their CKA.

    Raises:
        RequestError: no layers to compare, or an attention that cannot be read.
    """
    similarity, pair = run.evidence.similarity, run.pair
    if similarity is None or pair is None or not 1 < similarity.values.shape[0] <= similarity.values.shape[1]:
        raise RequestError(f"{name}: no attention to compare: {_why(run)}")
    layers = proposed_layer_map(similarity.values).pairs
    rows: list[list[Value]] = []
    for (own, other), values in compare_attention(pair, layers).items():
        for head, apart in enumerate(values):
            same = float(apart[head]) if len(values) == len(apart) else None
            rows.append([own, other, head, int(apart.argmin()), float(apart.min()), same])
    header = ("student layer", "teacher layer", "head", "nearest", "KL to nearest", "KL to same")
    notes = [
        f"{one_line(similarity.student)} with {one_line(similarity.teacher)}; KL(teacher || student) in nats, mean"
        f" over the tokens of {len(pair.texts)} texts; heads from 0, layers by"
        f" layer_map: {json.dumps([list(each) for each in layers])}"
    ]
    return Finding("attention", name, header, rows, notes)


def rank_finding(name: str, run: FinishedRun) -> Finding:
    """The effective rank of each layer of the last student and of its teacher, embeddings first.

    Raises:
        RequestError: no layers to look at.
    """
    pair = run.pair
    if run.evidence.similarity is None or pair is None:
        raise RequestError(f"{name}: no layers to look at: {_why(run)}")
    rows: list[list[Value]] = [
        [model, layer, states.shape[1], effective_rank(np.asarray(states))]
        for model, layers in zip(pair.names, read_layers(pair), strict=True)
        for layer, states in enumerate(layers)
    ]
    notes = [
        f"of the tokens of {len(pair.texts)} texts; 1: all on one line, at most the width. A student layer with"
        " far less than the teacher layer that it learns from has no room for it."
    ]
    return Finding("rank", name, ("model", "layer", "width", "effective rank"), rows, notes)


def _why(run: FinishedRun) -> str:
    return run.evidence.missing.get("similarity", "no student and teacher of layers, or their texts are not known")
