"""How the last student of a run and its teacher lay texts out before their heads, and by which tokens they answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distilnlp.analysis.attribution import chance_overlap, top_overlap
from distilnlp.analysis.geometry import class_angles
from distilnlp.errors import RequestError
from distilnlp.report.escape import one_line
from distilnlp.run.finding import Finding, Value
from distilnlp.run.likeness import Pair, read_texts
from distilnlp.run.page import FinishedRun

__all__ = ["attribution_finding", "geometry_finding"]

SHARES = (0.1, 0.2, 0.4)


def geometry_finding(name: str, run: FinishedRun) -> Finding:
    """The angles between the texts' vectors and the directions of their classes, of the last student and its teacher.

    Raises:
        RequestError: no student and teacher of classes, or a head that does not end in a linear map.
    """
    pair = _pair(name, run)
    rows: list[list[Value]] = []
    for model, place, pooling in zip(pair.names, pair.places, (None, pair.pooling), strict=True):
        read = _Read.of(place, pair, pooling)
        if read.weights is None or read.features is None:
            raise RequestError(
                f"{name}: the head of {one_line(model)} does not end in a linear map of one vector a text"
            )
        angles = class_angles(read.features, read.weights, read.logits.argmax(axis=1))
        rows.append([model, *(float(np.quantile(angles, q)) for q in (0.1, 0.5, 0.9)), float((angles > 80).mean())])
    notes = [
        f"degrees between what the head reads of a text and the direction of the class that it gets, {len(pair.texts)}"
        " held-out texts: a tenth of them are below the first number, half below the second. Texts near 90 are near"
        " the boundary: where many of a teacher's are, a student needs more texts to find the same one."
    ]
    return Finding("geometry", name, ("model", "a tenth", "median", "nine tenths", "above 80"), rows, notes)


def attribution_finding(name: str, run: FinishedRun) -> Finding:
    """Whether the last student answers by the tokens by which its teacher does: gradient times embedding, top tokens.

    Raises:
        RequestError: no student and teacher of classes, or they read other tokens.
    """
    pair = _pair(name, run)
    student, teacher = (
        _Read.of(place, pair, pooling) for place, pooling in zip(pair.places, (None, pair.pooling), strict=True)
    )
    if [ids.tolist() for ids in student.tokens] != [ids.tolist() for ids in teacher.tokens]:
        raise RequestError(f"{name}: student and teacher read other tokens, so that none of them can be the same")
    lengths = [len(ids) for ids in student.tokens]
    rows: list[list[Value]] = [
        [share, top_overlap(student.counts, teacher.counts, share), chance_overlap(lengths, share)] for share in SHARES
    ]
    notes = [
        f"{one_line(pair.names[0])} with {one_line(pair.names[1])}, {len(lengths)} held-out texts: of the tokens that"
        " count most for the answer of each, intersection over union; by chance: where both were drawn by lot. A token"
        " counts by the gradient of the largest logit times its embedding."
    ]
    return Finding("attribution", name, ("share of tokens", "the same", "by chance"), rows, notes)


def _pair(name: str, run: FinishedRun) -> Pair:
    pair, student = run.pair, run.evidence.student
    if pair is None or student is None:
        raise RequestError(f"{name}: no student with its teacher and held-out texts to look at")
    problem = student.problem
    if not problem.exclusive_classes or problem.rows != "text":
        raise RequestError(f"{name}: this looks at classes of texts, and {student.stage} answers otherwise")
    return pair


@dataclass(frozen=True)
class _Read:
    """What a model makes of some texts.

    Args:
        tokens: ids of each text. counts: how much each of them counts, ``(tokens,)``.
        logits: ``(texts, classes)``.
        features, weights: input and weights of the linear map that the logits come from; None where there is none.
    """

    tokens: list[NDArray[np.int64]]
    counts: list[NDArray[np.float64]]
    logits: NDArray[np.float64]
    features: NDArray[np.float64] | None
    weights: NDArray[np.float64] | None

    @classmethod
    def of(cls, place: str, pair: Pair, pooling: str | None) -> _Read:
        backend, batch = read_texts(place, pair.texts, pooling)
        with backend.evaluating(), torch.enable_grad():
            embedded, logits, ends = _forward(backend.pretrained, batch)
            (slopes,) = torch.autograd.grad(logits.max(dim=1).values.sum(), embedded)
        sizes = (slopes * embedded).sum(dim=-1).detach().double().numpy()
        real = batch["attention_mask"].bool().numpy()
        ids = batch["input_ids"].numpy()
        head = next(((read, linear) for read, linear, gave in reversed(ends) if torch.equal(gave, logits)), None)
        return cls(
            [row[kept] for row, kept in zip(ids, real, strict=True)],
            [row[kept] for row, kept in zip(sizes, real, strict=True)],
            logits.detach().double().numpy(),
            None if head is None else head[0].detach().double().numpy(),
            None if head is None else head[1].weight.detach().double().numpy(),
        )


def _forward(model: Any, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, list[tuple[Tensor, nn.Linear, Tensor]]]:
    """Embeddings and logits, and of each linear map that gives one vector a text what it read and gave."""
    ends: list[tuple[Tensor, nn.Linear, Tensor]] = []
    embedded: list[Tensor] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if isinstance(module, nn.Linear) and output.ndim == 2:
            ends.append((inputs[0], module, output))

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        embedded.append(output.detach().requires_grad_())  # also where the table is frozen
        return embedded[-1]

    hooks = [each.register_forward_hook(note) for each in model.modules() if isinstance(each, nn.Linear)]
    hooks.append(model.get_input_embeddings().register_forward_hook(keep))
    try:
        logits = model(**batch).logits
    finally:
        for hook in hooks:
            hook.remove()
    if len(embedded) != 1 or logits.ndim != 2:
        raise RequestError("one of the two models does not read a text through one table of embeddings")
    return embedded[0], logits, ends
