"""Factor transfer: the teacher's states, paraphrased by an autoencoder, and the student's, translated to them."""

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.errors import RequestError
from distilnlp.layer_map import LayerMap, LayerMapSpec
from distilnlp.losses.base import register_loss, token_mean, valid_counts, without_padding
from distilnlp.losses.checks import check_positive, require_module, require_teacher
from distilnlp.losses.layers import HiddenLayerLoss, check_widths
from distilnlp.losses.pooling import unit
from distilnlp.outputs import ModelInfo

__all__ = ["FactorTransfer"]


def _layers(*widths: int) -> nn.Sequential:
    """A linear map and a leaky ReLU from each width to the next."""
    return nn.Sequential(*(part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.LeakyReLU(0.1))))


class _Factors(nn.Module):
    """The paraphraser of the teacher's states, in two halves, and the translator of the student's."""

    def __init__(self, student: int, teacher: int, factors: int) -> None:
        super().__init__()
        self.paraphrase = _layers(teacher, teacher, factors, factors)
        # Without the last ReLU of the authors' code: a hidden state of a transformer is negative half of the time.
        self.restore = _layers(factors, factors, teacher, teacher)[:-1]
        self.translate = _layers(student, student, factors, factors)


@register_loss("factor_transfer")
@dataclass(frozen=True)
class FactorTransfer(HiddenLayerLoss):
    """``|| F_t / ||F_t|| - F_s / ||F_s|| ||_1 / sqrt(n) + || R(F_t) - h_t ||^2``: the teacher, paraphrased.

    The paraphraser makes the teacher's factors ``F_t = P(h_t)``, fewer than its states have numbers, and learns by the
    second term to restore the states from them; no gradient of the first term reaches it. The translator makes the
    student's, ``F_s = T(h_s)``. Each has three layers with leaky ReLUs and works token by token. They are the
    auxiliary modules, one a layer, live beside the student while it trains and are never saved with it. ``n`` is the
    number of a text's factors. Widths are free.

    Args:
        layer_map: which layers (see `LayerMap.from_spec`); 0 is the embeddings.
        rate: factors for each number of a teacher's state, > 0; below 1 the paraphraser has to choose.
    Shapes:
        hidden states: ``(batch, tokens, width)``; returns ``()``, float32.
    Units: the first term is dimensionless, in 0..2, and unchanged when either model's factors are scaled; the second
        is squared hidden units, mean over width and tokens. Both are means over examples and layers.
    Raises:
        RequestError: ``rate`` too small for one factor; a layer out of range; unequal numbers of tokens; no module.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Kim et al.",
            2018,
            "Paraphrasing Complex Network: Network Compression via Factor Transfer",
            "arXiv:1802.04977",
            differs=(
                "With the rate of the authors' code, linear maps in place of convolutions. They divide by ``n`` and "
                "give it the weight 500; by ``sqrt(n)`` a long text weighs as much as a short one. They train the "
                "paraphraser before the student, ours learns beside it."
            ),
        ),
    )

    layer_map: LayerMap | LayerMapSpec = "final"
    rate: float = 0.5

    read_once: ClassVar[frozenset[str]] = frozenset({"rate"})

    def __post_init__(self) -> None:
        super().__post_init__()
        check_positive("rate", self.rate)

    def make_module(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.Module | None:
        width = require_teacher(self.name, teacher).width
        factors = round(self.rate * width)
        if factors < 1:
            raise RequestError(f"rate={self.rate} leaves no factor of a state of {width} numbers: give a larger one")
        return nn.ModuleDict({str(layer): _Factors(student.width, width, factors) for layer in self.pairs.student})

    def compare(self, student: Tensor, teacher: Tensor, real: Tensor, module: nn.Module | None) -> Tensor:
        factors = require_module(self.name, module, _Factors)
        # What is learned here must meet no padding: its gradient would be 0 times NaN.
        s, t = (without_padding(states, real) for states in (student, teacher))
        f_s, f_t = factors.translate(s), factors.paraphrase(t)  # (batch, tokens, factors)
        restored = factors.restore(f_t)
        check_widths(self.name, restored, t)
        difference = (_unit_text(f_s, real) - _unit_text(f_t.detach(), real)).abs().sum(dim=(1, 2))  # (batch,)
        count = valid_counts(real).to(difference) * f_s.shape[-1]
        transfer: Tensor = difference / count.sqrt()  # (batch,)
        return transfer + token_mean((restored - t).square().mean(dim=-1), real)


def _unit_text(factors: Tensor, real: Tensor) -> Tensor:
    """All factors of a text, padding's being 0, scaled to length 1; ``(batch, tokens, factors)``."""
    kept = without_padding(factors, real)
    scaled: Tensor = unit(kept.flatten(1)).view_as(kept)
    return scaled
