"""Losses on hidden states and on the embeddings, with a learned projection where the widths differ."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor, nn

from distilnlp.errors import RequestError
from distilnlp.layer_map import LayerMap, LayerMapSpec
from distilnlp.losses.base import Batch, LayerLoss, example_mean, register_loss, require_teacher
from distilnlp.outputs import ModelInfo, Needs, Outputs

__all__ = ["Embedding", "HiddenLayerLoss", "HiddenState", "HiddenStateCosine", "check_widths", "projections"]


@dataclass(frozen=True)
class HiddenLayerLoss(LayerLoss):
    """Hidden states of mapped layers, compared on the same tokens."""

    def needs_student(self) -> Needs:
        return Needs(hidden_states=frozenset(self.pairs.student))

    def needs_teacher(self) -> Needs:
        return Needs(hidden_states=frozenset(self.pairs.teacher))

    def layer_term(self, student: Tensor, teacher: Tensor, real: Tensor, module: nn.Module | None) -> Tensor:
        """The term of one pair of layers, a mean over examples, ``()``.

        Args:
            student: ``(batch, tokens, student width)``.
            teacher: ``(batch, tokens, teacher width)``.
            real: bool, ``(batch, tokens)``.
            module: what is learned along for this layer.
        """
        raise NotImplementedError

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        terms = []
        for layer, h_s, h_t in self.mapped_states(student, teacher):
            learned = module[str(layer)] if isinstance(module, nn.ModuleDict) else None
            terms.append(self.layer_term(h_s, h_t, student.token_mask(h_s), learned))
        return sum(terms[1:], terms[0]) / len(terms)

    def mapped_states(self, student: Outputs, teacher: Outputs | None) -> Iterator[tuple[int, Tensor, Tensor]]:
        """Student layer, its states and those of the teacher's layer, ``(batch, tokens, width)``, for each pair.

        Raises:
            RequestError: unequal numbers of tokens.
        """
        teacher = require_teacher(self.name, teacher)
        for layer, teacher_layer in self.pairs:
            h_s = student.get_hidden_state(layer)  # (batch, tokens, student width)
            h_t = teacher.get_hidden_state(teacher_layer).detach()  # (batch, tokens, teacher width)
            if h_s.shape[:2] != h_t.shape[:2]:
                raise RequestError(
                    f"{self.name} compares tokens one by one: layer {layer} of the student has (batch, tokens) "
                    f"{tuple(h_s.shape[:2])} and the teacher {tuple(h_t.shape[:2])}; both must read the same tokens"
                )
            yield layer, h_s, h_t


@dataclass(frozen=True)
class _HiddenLoss(HiddenLayerLoss):
    """Hidden states of mapped layers, compared token by token."""

    def make_module(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.Module | None:
        """A linear map for each pair from the student's width to the teacher's; None where they are equal."""
        return projections(self.pairs, student, teacher)

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """One number a token, ``(batch, tokens)``, from two ``(batch, tokens, width)``."""
        raise NotImplementedError

    def layer_term(self, student: Tensor, teacher: Tensor, real: Tensor, module: nn.Module | None) -> Tensor:
        if module is not None:
            student = module(student)  # (batch, tokens, teacher width)
        check_widths(self.name, student, teacher)
        return example_mean(self.compare(student, teacher), real)


@register_loss("hidden_state")
@dataclass(frozen=True)
class HiddenState(_HiddenLoss):
    """Mean squared error between hidden states of mapped layers, over real tokens; mean over the layers.

    Where the widths differ, a linear projection of the student's states is learned along, one a layer; it lives
    beside the student while it trains, is kept in checkpoints and never saved with the student.

    Args:
        layer_map: which layers (see `LayerMap.from_spec`); 0 is the embeddings.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: squared hidden units, mean over width, tokens, examples and layers.
    Source: Romero et al. 2015 (FitNets), arXiv:1412.6550, equation 3 without its factor 1/2, on tokens; Jiao et al.
        2020 (TinyBERT), arXiv:1909.10351, equation 8. Padding never counts, and each example weighs the same
        whatever its length (their code averages over all positions, padding included).
    Raises:
        RequestError: a layer out of range; unequal widths without the projection; unequal numbers of tokens (two
            tokenizers).
    """

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (student - teacher).square().mean(dim=-1)


@register_loss("hidden_state_cosine")
@dataclass(frozen=True)
class HiddenStateCosine(_HiddenLoss):
    """``1 - cos(h_s, h_t)`` of mapped layers, over real tokens; mean over the layers. In 0..2.

    Args:
        layer_map: which layers (see `LayerMap.from_spec`); 0 is the embeddings.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: dimensionless; unchanged when either model's states are scaled.
    Source: Sanh et al. 2019 (DistilBERT), arXiv:1910.01108, section 2 (last layer; here any), with a learned
        projection where the widths differ, which the paper has not.
    Raises:
        RequestError: a layer out of range; unequal widths without the projection; unequal numbers of tokens.
    """

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        return 1 - F.cosine_similarity(student, teacher, dim=-1)


@register_loss("embedding")
@dataclass(frozen=True)
class Embedding(_HiddenLoss):
    """Mean squared error between the outputs of the two embedding layers, over real tokens.

    The hidden state of layer 0, with a learned projection where the widths differ.

    Shapes:
        hidden state 0: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: squared hidden units, mean over width, tokens and examples.
    Source: Jiao et al. 2020 (TinyBERT), arXiv:1909.10351, equation 9.
    Raises:
        RequestError: unequal widths without the projection; unequal numbers of tokens.
    """

    layer_map: LayerMap | LayerMapSpec = field(default=LayerMap(((0, 0),)), init=False, repr=False)

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> LayerLoss:
        require_teacher(self.name, teacher)
        return self

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (student - teacher).square().mean(dim=-1)


def projections(pairs: LayerMap, student: ModelInfo, teacher: ModelInfo | None) -> nn.ModuleDict | None:
    """A linear map for each pair from the student's width to the teacher's; None where they are equal."""
    if teacher is None or student.width == teacher.width:
        return None
    # One a layer, as TinyBERT's paper has it (its code shares one among all layers and the embeddings).
    return nn.ModuleDict({str(layer): nn.Linear(student.width, teacher.width) for layer in pairs.student})


def check_widths(name: str, student: Tensor, teacher: Tensor) -> None:
    """Raise RequestError unless the two are equally wide."""
    if student.shape[-1] != teacher.shape[-1]:
        raise RequestError(
            f"{name}: the student is {student.shape[-1]} wide and the teacher {teacher.shape[-1]}; "
            "pass the module that make_module() gives"
        )
