"""Losses on mapped layers: the layer map, what is captured for it, and projections where the widths differ."""

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from distilnlp.errors import RequestError
from distilnlp.layer_map import LayerMap, LayerMapSpec
from distilnlp.losses.base import Batch, Loss, batch_mean
from distilnlp.losses.checks import check_same_tokens, require_teacher
from distilnlp.outputs import ModelInfo, Needs, Outputs

__all__ = ["HiddenLayerLoss", "LayerLoss", "check_steps", "check_widths", "projections", "to_teacher_width"]


# Of twelve layers that some map of every name fits.
_KINDS = ("global", "local") * 6


@dataclass(frozen=True)
class LayerLoss(Loss):
    """Base of losses that compare mapped layers; the mean over the pairs of the map.

    Args:
        layer_map: a name (see `LayerMap.from_spec`), or pairs ``[student layer, teacher layer]``.

    Class attributes:
        lowest_layer: 1 where blocks are compared, 0 where the embeddings may be too.
        projects: whether a linear map of the student's hidden states is learned where the widths differ, one a layer.
    """

    layer_map: LayerMap | LayerMapSpec = "auto"

    lowest_layer: ClassVar[int] = 0
    projects: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if isinstance(self.layer_map, str):
            LayerMap.from_spec(
                self.layer_map, 12, 12, types=(_KINDS, _KINDS)
            )  # an unknown name is refused where it is written
        else:
            self.check_pairs(self.pairs)

    def check_pairs(self, pairs: LayerMap) -> None:
        """Raise RequestError where this loss cannot compare these pairs of layers."""
        if min(min(pair) for pair in pairs) < self.lowest_layer:
            raise RequestError(
                f"{self.name} compares blocks, which are counted from {self.lowest_layer}; the layer map has "
                f"{[list(pair) for pair in pairs]}"
            )

    @property
    def pairs(self) -> LayerMap:
        """The resolved map. Raises RequestError while it is still a name."""
        if isinstance(self.layer_map, str):
            raise RequestError(
                f"the layer map '{self.layer_map}' of {self.name} depends on the two models: give pairs, "
                "or call resolve(student_info, teacher_info) first"
            )
        return LayerMap.of(self.layer_map)

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> "LayerLoss":
        teacher = require_teacher(self.name, teacher)
        types = (student.layer_types, teacher.layer_types)
        pairs = LayerMap.from_spec(self.layer_map, student.layers, teacher.layers, student.kept_layers, types)
        self.check_pairs(pairs)
        return dataclasses.replace(self, layer_map=pairs)

    def needs_of(self, layers: frozenset[int]) -> Needs:
        """What is read of these layers of a model: their hidden states where nothing else is said."""
        return Needs(hidden_states=layers)

    def needs_student(self) -> Needs:
        return self.needs_always() | self.needs_of(frozenset(self.pairs.student))

    def needs_teacher(self) -> Needs:
        return self.needs_of(frozenset(self.pairs.teacher))

    def make_module(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.Module | None:
        return projections(self.pairs.student, student, teacher) if self.projects else None

    def layer_term(
        self, student: Outputs, layer: int, teacher: Outputs, teacher_layer: int, module: nn.Module | None
    ) -> Tensor:
        """The term of one pair of layers, a mean over examples, ``()``; ``module``: the auxiliary one of this pair.

        A loss with ``weighs_examples`` takes this mean with ``student.weights`` (`batch_mean`, `example_mean`).
        """
        raise NotImplementedError

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        teacher = require_teacher(self.name, teacher)
        terms = []
        for layer, teacher_layer in self.pairs:
            own = module[str(layer)] if isinstance(module, nn.ModuleDict) else None
            terms.append(self.layer_term(student, layer, teacher, teacher_layer, own))
        return sum(terms[1:], terms[0]) / len(terms)


@dataclass(frozen=True)
class HiddenLayerLoss(LayerLoss):
    """Base of losses that compare hidden states of mapped layers, token by token."""

    weighs_examples: ClassVar[bool] = True

    def compare(self, student: Tensor, teacher: Tensor, real: Tensor, module: nn.Module | None) -> Tensor:
        """The term of one pair of layers, one number an example, ``(batch,)``.

        Args:
            student: ``(batch, tokens, student width)``; where the loss `projects`, of the teacher's width.
            teacher: ``(batch, tokens, teacher width)``.
            real: bool, ``(batch, tokens)``.
            module: the auxiliary module of this layer; None where the loss `projects`, which is done by then.
        """
        raise NotImplementedError

    def layer_term(
        self, student: Outputs, layer: int, teacher: Outputs, teacher_layer: int, module: nn.Module | None
    ) -> Tensor:
        h_s, h_t = self._states(student, layer, teacher, teacher_layer)
        real = student.token_mask(h_s)
        if self.projects:
            h_s, module = to_teacher_width(self.name, h_s, h_t, module), None
        return batch_mean(self.compare(h_s, h_t, real, module), student.weights)

    def mapped_states(self, student: Outputs, teacher: Outputs | None) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Student layer, its states and those of the teacher's layer, ``(batch, tokens, width)``, for each pair.

        Raises:
            RequestError: unequal numbers of tokens.
        """
        teacher = require_teacher(self.name, teacher)
        for layer, teacher_layer in self.pairs:
            yield layer, *self._states(student, layer, teacher, teacher_layer)

    def _states(self, student: Outputs, layer: int, teacher: Outputs, teacher_layer: int) -> tuple[Tensor, Tensor]:
        h_s = student.get_hidden_state(layer)  # (batch, tokens, student width)
        h_t = teacher.get_hidden_state(teacher_layer).detach()  # (batch, tokens, teacher width)
        check_same_tokens(self.name, h_s.shape[:2], h_t.shape[:2])
        return h_s, h_t


def projections(layers: Iterable[int], student: ModelInfo, teacher: ModelInfo | None) -> nn.ModuleDict | None:
    """A linear map for each student layer to the teacher's width; None where the widths are equal."""
    if teacher is None or student.width == teacher.width:
        return None
    # One a layer, as TinyBERT's paper has it (its code shares one among all layers and the embeddings).
    return nn.ModuleDict({str(layer): nn.Linear(student.width, teacher.width) for layer in layers})


def to_teacher_width(name: str, student: Tensor, teacher: Tensor, module: nn.Module | None) -> Tensor:
    """The student's vectors ``(..., teacher width)``, through the projection where there is one.

    Raises:
        RequestError: they are not as wide as the teacher's.
    """
    if module is not None:
        student = module(student)
    check_widths(name, student, teacher)
    return student


def check_widths(name: str, student: Tensor, teacher: Tensor) -> None:
    """Raise RequestError unless the two are equally wide."""
    if student.shape[-1] != teacher.shape[-1]:
        raise RequestError(
            f"{name}: the student is {student.shape[-1]} wide and the teacher {teacher.shape[-1]}; "
            "pass the module that make_module() gives"
        )


def check_steps(name: str, pairs: LayerMap, what: str) -> None:
    """Raise RequestError unless the map has a next layer for some layer."""
    if len(pairs) < 2:
        raise RequestError(
            f"{name} {what} and the layer map has one pair only, {[list(pair) for pair in pairs]}: map two layers or "
            "more"
        )
