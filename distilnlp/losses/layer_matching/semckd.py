"""SemCKD: weights of the pairs of layers that are learned."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.losses.base import Batch, example_mean, register_loss
from distilnlp.losses.checks import check_count, require_module, require_teacher
from distilnlp.losses.layer_matching.base import AllLayersLoss, squares
from distilnlp.losses.pooling import pool
from distilnlp.outputs import ModelInfo, Outputs

__all__ = ["SemCKD"]


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

    The auxiliary module makes the weights, for each example from the mean of each layer's real tokens, and holds a
    linear map for each pair of layers. It lives beside the student while it trains and is never saved with it.

    Args:
        student_layers: in rising order; 0 is the embeddings. None: all blocks.
        teacher_layers: the same, of the teacher.
        dimension: ``d``, the size of queries and keys.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: squared hidden units, mean over width, real tokens, examples and student layers.
    Raises:
        RequestError: a layer out of range; layers not in rising order; ``dimension`` below 1; no module; unequal
            numbers of tokens (two tokenizers).
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Chen et al.",
            2021,
            "Cross-Layer Distillation with Semantic Calibration",
            "arXiv:2012.03236",
            differs=(
                "On tokens. Their queries and keys come from the similarities of the examples of a batch by two "
                "linear maps and have length 1, a quarter of the batch long, which fixes its size; ours come from the "
                "example alone by one, are not scaled to length 1, and 128 is ours. One linear map in place of their "
                "convolutions, products divided by ``sqrt(d)``."
            ),
        ),
    )

    weighs_examples: ClassVar[bool] = True

    dimension: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("dimension", self.dimension)

    def make_module(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.Module | None:
        return _Attention(self.layers, (student.width, require_teacher(self.name, teacher).width), self.dimension)

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        teacher = require_teacher(self.name, teacher)
        attention = require_module(self.name, module, _Attention)
        own, others = self.layers
        keys = torch.stack([attention.keys[str(i)](pool(teacher, i, "mean").detach()) for i in others], dim=1)
        terms = []
        for j in own:
            h_s = student.get_hidden_state(j)  # (batch, tokens, student width)
            real = student.token_mask(h_s)
            query = attention.queries[str(j)](pool(student, j, "mean"))  # (batch, dimension)
            weights = (keys @ query[:, :, None] * self.dimension**-0.5).softmax(dim=1)  # (batch, teacher layers, 1)
            for index, i in enumerate(others):
                distance = squares(self.name, attention.maps[f"{j}_{i}"](h_s), teacher.get_hidden_state(i))
                terms.append(example_mean(weights[:, index] * distance, real, student.weights))
        return sum(terms[1:], terms[0]) / len(own)
