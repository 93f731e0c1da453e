"""Losses without a fixed layer map: which teacher layer a student layer learns from is found, weighted or drawn."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from distilnlp.errors import RequestError
from distilnlp.layer_map import uniform_layers
from distilnlp.losses.base import Batch, Loss, example_mean, given, register_loss
from distilnlp.losses.hidden import check_widths
from distilnlp.losses.pooled import pool
from distilnlp.outputs import ModelInfo, Needs, Outputs

__all__ = ["ALPKD", "AllLayersLoss", "CoFi", "SemCKD", "costs", "to_teacher_width"]


@dataclass(frozen=True)
class AllLayersLoss(Loss):
    """Hidden states of many layers of both models, compared without a layer map."""

    student_layers: Sequence[int] | None = None
    teacher_layers: Sequence[int] | None = None

    def __post_init__(self) -> None:
        for who, layers in (("student", self.student_layers), ("teacher", self.teacher_layers)):
            if layers is not None and (not layers or min(layers) < 0 or list(layers) != sorted(set(layers))):
                raise RequestError(
                    f"{who}_layers of {self.name} are numbers >= 0 in rising order, each once; got {list(layers)}"
                )

    def default_layers(self, layers: int, who: str) -> tuple[int, ...]:
        """The layers compared where the setting is None, of a ``who`` ("student" or "teacher") of ``layers``."""
        return tuple(range(1, layers + 1))

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> "AllLayersLoss":
        fixed = {}
        for who, info, layers in (
            ("student", student, self.student_layers),
            ("teacher", given(self.name, teacher), self.teacher_layers),
        ):
            fixed[who] = self.default_layers(info.layers, who) if layers is None else tuple(layers)
            if not fixed[who] or max(fixed[who]) > info.layers:
                raise RequestError(
                    f"{who}_layers of {self.name}: {info.name} has layers 0 to {info.layers}; got {list(fixed[who])}"
                )
        return dataclasses.replace(self, student_layers=fixed["student"], teacher_layers=fixed["teacher"])

    @property
    def layers(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The student's layers and the teacher's. Raises RequestError while they depend on the two models."""
        if self.student_layers is None or self.teacher_layers is None:
            raise RequestError(
                f"the layers of {self.name} depend on the two models: give student_layers and teacher_layers, or "
                "call resolve(student_info, teacher_info) first"
            )
        return tuple(self.student_layers), tuple(self.teacher_layers)

    def needs_student(self) -> Needs:
        return Needs(hidden_states=frozenset(self.layers[0]))

    def needs_teacher(self) -> Needs:
        return Needs(hidden_states=frozenset(self.layers[1]))


@register_loss("alp_kd")
@dataclass(frozen=True)
class ALPKD(AllLayersLoss):
    """``mean_c (s_j - c_j)^2``, ``c_j = sum_i a_ij t_i``, ``a_ij = softmax_i(s_j . t_i)``, on the [CLS] states.

    Each student layer attends to the teacher layers; the gradient goes through the attention too. Where the widths
    differ, a linear map of the student's states is learned along, one a layer.

    Args:
        student_layers: in rising order; 0 is the embeddings. None: all blocks.
        teacher_layers: the same, of the teacher.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: squared hidden units, mean over width, examples and student layers. Not 0 where the models are equal: a
        weighted mean of several layers is none of them.
    Source: Passban et al. 2021 (ALP-KD), arXiv:2012.14022. Their map goes from the teacher's width to the student's;
        ours the other way, so that the target is never learned. The products are not scaled, as theirs.
    Raises:
        RequestError: a layer out of range; layers not in rising order; unequal widths without the module.
    """

    def make_module(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.Module | None:
        return to_teacher_width(self.layers[0], student, given(self.name, teacher))

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        teacher = given(self.name, teacher)
        t = torch.stack([pool(teacher, layer, "cls") for layer in self.layers[1]], dim=1).detach()
        terms = []
        for layer in self.layers[0]:
            s = pool(student, layer, "cls")  # (batch, student width)
            if isinstance(module, nn.ModuleDict):
                s = module[str(layer)](s)  # (batch, teacher width)
            check_widths(self.name, s, t)
            weights = (t @ s[:, :, None]).softmax(dim=1)  # (batch, teacher layers, 1)
            terms.append((s - (weights * t).sum(dim=1)).square().mean())
        return sum(terms[1:], terms[0]) / len(terms)


@register_loss("cofi")
@dataclass(frozen=True)
class CoFi(AllLayersLoss):
    """``mean_i D(i, m(i))``: each teacher layer takes the student layer ``m(i)`` that is nearest, order kept.

    ``D(i, j) = mean (W h_s_j - h_t_i)^2`` over real tokens. ``m`` never falls and is the best of all such maps for the
    batch, found anew each step. Depends on which examples meet in a batch: one map serves them all. ``W`` is learned
    along, one for all layers, and starts as the identity where the widths are equal.

    Args:
        student_layers: that may be taken, in rising order. None: all blocks.
        teacher_layers: that are matched, in rising order. None: four at even distances (3, 6, 9, 12 of 12), or all
            of a teacher of fewer.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: squared hidden units, mean over width, real tokens, examples and teacher layers (the paper has the sum).
    Source: Xia et al. 2022 (CoFi), arXiv:2204.00408, section 3.2. Their code goes down from the last layer
        and takes the nearest below the one just taken, while there is one; ours is the least sum, and two teacher
        layers may share a student layer.
    Raises:
        RequestError: a layer out of range; layers not in rising order; unequal widths without the module; unequal
            numbers of tokens (two tokenizers).
    """

    over_batch: ClassVar[bool] = True

    def default_layers(self, layers: int, who: str) -> tuple[int, ...]:
        return uniform_layers(min(4, layers), layers) if who == "teacher" else super().default_layers(layers, who)

    def make_module(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.Module | None:
        width = given(self.name, teacher).width
        module = nn.Linear(student.width, width)
        if student.width == width:
            nn.init.eye_(module.weight)
            nn.init.zeros_(module.bias)
        return module

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        distances = costs(self, student, given(self.name, teacher), module).T  # (teacher layers, student layers)
        # best[j]: the least sum so far with m <= j. No path is looked at: the gradient goes where the minimum is.
        best = distances[0].cummin(dim=0).values
        for row in distances[1:]:
            best = (best + row).cummin(dim=0).values
        return best[-1] / len(distances)


class _Attention(nn.Module):
    """Which teacher layer a student layer learns from, for each example; and a linear map for each pair of layers."""

    def __init__(self, layers: tuple[tuple[int, ...], tuple[int, ...]], widths: tuple[int, int], size: int) -> None:
        super().__init__()
        self.queries, self.keys = (
            nn.ModuleDict({str(layer): nn.Linear(width, size) for layer in own})
            for own, width in zip(layers, widths, strict=True)
        )
        self.maps = nn.ModuleDict({f"{s}_{t}": nn.Linear(*widths) for s in layers[0] for t in layers[1]})


@register_loss("semckd")
@dataclass(frozen=True)
class SemCKD(AllLayersLoss):
    """``mean_j sum_i a_ij mean_c (W_ij h_s_j - h_t_i)^2``, ``a_ij = softmax_i(q_j . k_i / sqrt(d))``.

    The weights are learned along, for each example from the mean of each layer's real tokens; and so is a linear map
    for each pair of layers. Both live beside the student while it trains and are never saved with it.

    Args:
        student_layers: in rising order; 0 is the embeddings. None: all blocks.
        teacher_layers: the same, of the teacher.
        dimension: ``d``, the size of queries and keys.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: squared hidden units, mean over width, real tokens, examples and student layers.
    Source: Chen et al. 2021 (SemCKD), arXiv:2012.03236, on tokens. Their queries and keys come from the similarities
        of the examples of a batch by two linear maps and have length 1, a quarter of the batch long, which fixes its
        size; ours come from the example alone by one, are not scaled to length 1, and 128 is ours. One linear map in
        place of their convolutions, products divided by ``sqrt(d)``.
    Raises:
        RequestError: a layer out of range; layers not in rising order; ``dimension`` below 1; no module; unequal
            numbers of tokens (two tokenizers).
    """

    dimension: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dimension < 1:
            raise RequestError(f"dimension must be at least 1; got {self.dimension}")

    def make_module(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.Module | None:
        return _Attention(self.layers, (student.width, given(self.name, teacher).width), self.dimension)

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        teacher = given(self.name, teacher)
        if not isinstance(module, _Attention):
            raise RequestError(f"{self.name} needs what it learns along: pass the module that make_module() gives")
        own, others = self.layers
        keys = torch.stack([module.keys[str(i)](pool(teacher, i, "mean").detach()) for i in others], dim=1)
        terms = []
        for j in own:
            h_s = student.get_hidden_state(j)  # (batch, tokens, student width)
            real = student.token_mask(h_s)
            query = module.queries[str(j)](pool(student, j, "mean"))  # (batch, dimension)
            weights = (keys @ query[:, :, None] * self.dimension**-0.5).softmax(dim=1)  # (batch, teacher layers, 1)
            for index, i in enumerate(others):
                distance = _squares(self.name, module.maps[f"{j}_{i}"](h_s), teacher.get_hidden_state(i))
                terms.append(example_mean(weights[:, index] * distance, real))
        return sum(terms[1:], terms[0]) / len(own)


def to_teacher_width(layers: Sequence[int], student: ModelInfo, teacher: ModelInfo) -> nn.ModuleDict | None:
    """A linear map for each student layer to the teacher's width; None where the widths are equal."""
    if student.width == teacher.width:
        return None
    return nn.ModuleDict({str(layer): nn.Linear(student.width, teacher.width) for layer in layers})


def costs(loss: AllLayersLoss, student: Outputs, teacher: Outputs, module: nn.Module | None) -> Tensor:
    """``(student layers, teacher layers)``: mean squared error of each pair over real tokens, mean over examples.

    Args:
        loss: whose layers, and whose name is in a message.
        student: its outputs.
        teacher: its outputs; no gradient flows into them.
        module: maps a student's state to the teacher's width; None where they are equal.
    """
    rows = []
    for layer in loss.layers[0]:
        h_s = student.get_hidden_state(layer)  # (batch, tokens, student width)
        mapped = h_s if module is None else module(h_s)  # (batch, tokens, teacher width)
        real = student.token_mask(h_s)
        distances = [_squares(loss.name, mapped, teacher.get_hidden_state(other)) for other in loss.layers[1]]
        rows.append(torch.stack([example_mean(distance, real) for distance in distances]))
    return torch.stack(rows)


def _squares(name: str, student: Tensor, teacher: Tensor) -> Tensor:
    """Mean over the width of the squared difference, ``(batch, tokens)``."""
    check_widths(name, student, teacher)
    if student.shape[:2] != teacher.shape[:2]:
        raise RequestError(
            f"{name} compares tokens one by one: the student has (batch, tokens) {tuple(student.shape[:2])} and the "
            f"teacher {tuple(teacher.shape[:2])}; both must read the same tokens"
        )
    return (student - teacher.detach()).square().mean(dim=-1)
