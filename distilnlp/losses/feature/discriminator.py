"""A discriminator that learns to tell the student's features from the teacher's."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.layer_map import LayerMap
from distilnlp.losses.base import register_loss, valid_counts, without_padding
from distilnlp.losses.checks import check_count, require_module, require_teacher
from distilnlp.losses.discriminator import Discriminator
from distilnlp.losses.layers import HiddenLayerLoss, check_widths
from distilnlp.outputs import ModelInfo

__all__ = ["FeatureDiscriminator"]


class _Judged(nn.Module):
    """A discriminator, and the map to the teacher's width that belongs to the student."""

    def __init__(self, student_width: int, teacher_width: int, hidden: int) -> None:
        super().__init__()
        same = student_width == teacher_width
        self.projection: nn.Module = nn.Identity() if same else nn.Linear(student_width, teacher_width)
        self.discriminator = Discriminator(teacher_width, hidden)


@register_loss("feature_discriminator")
@dataclass(frozen=True)
class FeatureDiscriminator(HiddenLayerLoss):
    """``BCE(D(mean(h_s)), 1)``: the student's features are to pass for the teacher's before a discriminator ``D``.

    As ``discriminator``, of the mean of a layer's hidden states over the real tokens. Where the widths differ, a
    linear map takes the student's to the teacher's and learns with the student. The auxiliary modules, one a layer,
    live beside the student while it trains and are never saved with it.

    Args:
        layer_map: which layers (see `LayerMap.from_spec`); 0 is the embeddings.
        hidden: numbers between the two maps of ``D``, 1 or more.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: nats per example, mean over the layers: ``ln 2`` where ``D`` cannot tell. It is not 0 at equality.
    Raises:
        RequestError: ``hidden`` below 1; a layer out of range; no module; unequal numbers of tokens.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Liu et al.",
            2018,
            "KTAN: Knowledge Transfer Adversarial Network",
            "arXiv:1810.08126",
            differs="Means over tokens in place of feature maps; D is two linear maps and learns in one step with it.",
        ),
    )

    layer_map: str | LayerMap | list[list[int]] = "final"
    hidden: int = 64

    read_once: ClassVar[frozenset[str]] = frozenset({"hidden"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("hidden", self.hidden)

    def make_module(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.Module | None:
        width = require_teacher(self.name, teacher).width
        return nn.ModuleDict({str(layer): _Judged(student.width, width, self.hidden) for layer in self.pairs.student})

    def compare(self, student: Tensor, teacher: Tensor, real: Tensor, module: nn.Module | None) -> Tensor:
        judged = require_module(self.name, module, _Judged)
        counts = valid_counts(real)[:, None]  # (batch, 1)
        s = judged.projection(without_padding(student, real).sum(dim=1) / counts)  # (batch, teacher width)
        t = without_padding(teacher, real).sum(dim=1) / counts
        check_widths(self.name, s, t)
        return judged.discriminator.both(s, t)
