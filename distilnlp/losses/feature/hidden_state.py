"""Losses on hidden states and on the embeddings, with a learned projection where the widths differ."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.layer_map import LayerMap, LayerMapSpec
from distilnlp.losses.base import register_loss, token_mean
from distilnlp.losses.checks import require_teacher
from distilnlp.losses.layers import HiddenLayerLoss, LayerLoss
from distilnlp.outputs import ModelInfo

__all__ = ["Embedding", "HiddenState", "HiddenStateCosine"]


@register_loss("hidden_state")
@dataclass(frozen=True)
class HiddenState(HiddenLayerLoss):
    """Mean squared error between hidden states of mapped layers, over real tokens; mean over the layers.

    Where the widths differ, the auxiliary modules are linear projections of the student's states, one a layer; they
    live beside the student while it trains, are kept in checkpoints and never saved with the student.

    Args:
        layer_map: which layers (see `LayerMap.from_spec`); 0 is the embeddings.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: squared hidden units, mean over width, tokens, examples and layers.
    Raises:
        RequestError: a layer out of range; unequal widths without the projection; unequal numbers of tokens (two
            tokenizers).
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Romero et al.",
            2015,
            "FitNets: Hints for Thin Deep Nets",
            "arXiv:1412.6550",
            where="equation 3",
            differs="Without its factor 1/2, on tokens.",
        ),
        Citation(
            "Jiao et al.",
            2020,
            "TinyBERT: Distilling BERT for Natural Language Understanding",
            "arXiv:1909.10351",
            where="equation 8",
            differs=(
                "Padding never counts, and each example weighs the same whatever its length (their code averages over "
                "all positions, padding included)."
            ),
        ),
    )

    projects: ClassVar[bool] = True

    def compare(self, student: Tensor, teacher: Tensor, real: Tensor, module: nn.Module | None) -> Tensor:
        return token_mean((student - teacher).square().mean(dim=-1), real)


@register_loss("hidden_state_cosine")
@dataclass(frozen=True)
class HiddenStateCosine(HiddenLayerLoss):
    """``1 - cos(h_s, h_t)`` of mapped layers, over real tokens; mean over the layers. In 0..2.

    Args:
        layer_map: which layers (see `LayerMap.from_spec`); 0 is the embeddings.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: dimensionless; unchanged when either model's states are scaled.
    Raises:
        RequestError: a layer out of range; unequal widths without the projection; unequal numbers of tokens.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Sanh et al.",
            2019,
            "DistilBERT, a distilled version of BERT: smaller, faster, cheaper and lighter",
            "arXiv:1910.01108",
            where="section 2",
            differs=(
                "There the last layer, here any, with a learned projection where the widths differ, which the paper "
                "has not."
            ),
        ),
    )

    projects: ClassVar[bool] = True

    def compare(self, student: Tensor, teacher: Tensor, real: Tensor, module: nn.Module | None) -> Tensor:
        return token_mean(1 - F.cosine_similarity(student, teacher, dim=-1), real)


@register_loss("embedding")
@dataclass(frozen=True)
class Embedding(HiddenLayerLoss):
    """Mean squared error between the outputs of the two embedding layers, over real tokens.

    The hidden state of layer 0, with a learned projection where the widths differ.

    Shapes:
        hidden state 0: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: squared hidden units, mean over width, tokens and examples.
    Raises:
        RequestError: unequal widths without the projection; unequal numbers of tokens.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Jiao et al.",
            2020,
            "TinyBERT: Distilling BERT for Natural Language Understanding",
            "arXiv:1909.10351",
            where="equation 9",
        ),
    )

    layer_map: LayerMap | LayerMapSpec = field(default=LayerMap(((0, 0),)), init=False, repr=False)

    projects: ClassVar[bool] = True

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> LayerLoss:
        require_teacher(self.name, teacher)
        return self

    def compare(self, student: Tensor, teacher: Tensor, real: Tensor, module: nn.Module | None) -> Tensor:
        return token_mean((student - teacher).square().mean(dim=-1), real)
