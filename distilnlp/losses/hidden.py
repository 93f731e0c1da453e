"""Losses on hidden states and on the embeddings, with a learned projection where the widths differ."""

from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor, nn

from distilnlp.errors import RequestError
from distilnlp.layer_map import LayerMap, LayerMapSpec
from distilnlp.losses.base import Batch, LayerLoss, example_mean, register_loss
from distilnlp.outputs import ModelInfo, Needs, Outputs

__all__ = ["Embedding", "HiddenState", "HiddenStateCosine"]


@dataclass(frozen=True)
class _HiddenLoss(LayerLoss):
    """Hidden states of mapped layers, compared token by token."""

    def needs_student(self) -> Needs:
        return Needs(hidden_states=frozenset(self.pairs.student))

    def needs_teacher(self) -> Needs:
        return Needs(hidden_states=frozenset(self.pairs.teacher))

    def make_module(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.Module | None:
        """A linear map for each pair from the student's width to the teacher's; None where they are equal."""
        if teacher is None or student.width == teacher.width:
            return None
        # One a layer, as TinyBERT's paper has it (its code shares one among all layers and the embeddings).
        return nn.ModuleDict({str(layer): nn.Linear(student.width, teacher.width) for layer in self.pairs.student})

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        """One number a token, ``(batch, tokens)``, from two ``(batch, tokens, width)``."""
        raise NotImplementedError

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        if teacher is None:
            raise RequestError(f"{self.name} compares the student with a teacher and there is none")
        terms = []
        for layer, teacher_layer in self.pairs:
            h_s = student.get_hidden_state(layer)  # (batch, tokens, student width)
            h_t = teacher.get_hidden_state(teacher_layer).detach()  # (batch, tokens, teacher width)
            if isinstance(module, nn.ModuleDict):
                h_s = module[str(layer)](h_s)  # (batch, tokens, teacher width)
            _check_hidden(self.name, layer, h_s, h_t)
            terms.append(example_mean(self.compare(h_s, h_t), student.token_mask(h_s)))
        return sum(terms[1:], terms[0]) / len(terms)


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
    Source: Romero et al. 2015 (FitNets), arXiv:1412.6550, equation 3, on tokens; Jiao et al. 2020 (TinyBERT),
        arXiv:1909.10351, equation 8. Padding never counts, and each example weighs the same whatever its length
        (their code averages over all positions, padding included).
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
        if teacher is None:
            raise RequestError("embedding compares the student with a teacher and there is none")
        return self

    def compare(self, student: Tensor, teacher: Tensor) -> Tensor:
        return (student - teacher).square().mean(dim=-1)


def _check_hidden(name: str, layer: int, student: Tensor, teacher: Tensor) -> None:
    if student.shape[:2] != teacher.shape[:2]:
        raise RequestError(
            f"{name} compares tokens one by one: layer {layer} of the student has (batch, tokens) "
            f"{tuple(student.shape[:2])} and the teacher {tuple(teacher.shape[:2])}; both must read the same tokens"
        )
    if student.shape[-1] != teacher.shape[-1]:
        raise RequestError(
            f"{name} at layer {layer}: the student is {student.shape[-1]} wide and the teacher {teacher.shape[-1]}; "
            "pass the projection that make_module() gives"
        )
