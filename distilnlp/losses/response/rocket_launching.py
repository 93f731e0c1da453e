"""Rocket launching: a deeper net on the student's lower blocks learns the labels, and the student from it."""

import dataclasses
import logging
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from distilnlp.citation import Citation
from distilnlp.errors import RequestError
from distilnlp.losses.base import Batch, Loss, register_loss, valid_counts, without_padding
from distilnlp.losses.checks import check_count, check_positive, require_module
from distilnlp.losses.response.base import Head, check_spans
from distilnlp.losses.response.class_weights import WeighsClasses
from distilnlp.losses.response.hard_label import HardLabel
from distilnlp.outputs import ModelInfo, Needs, Outputs

__all__ = ["RocketLaunching"]

logger = logging.getLogger(__name__)


class _Booster(nn.Module):
    """Blocks on a hidden state, and a head on the first real token, or on every token."""

    def __init__(self, student: ModelInfo, blocks: int) -> None:
        super().__init__()
        width = student.width
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, student.heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True
            )
            for _ in range(blocks)
        )
        self.head = nn.Linear(width, student.num_logits)

    def forward(self, states: Tensor, real: Tensor, every_token: bool) -> Tensor:
        # A masked key weighs 0, and 0 times what stands there may be NaN.
        states = without_padding(states, real)  # (batch, tokens, width)
        for block in self.blocks:
            states = block(states, src_key_padding_mask=~real)
        if not every_token:
            # Under left padding the first token is not at position 0.
            first = real.int().argmax(dim=1)[:, None, None].expand(-1, 1, states.shape[-1])
            states = states.gather(1, first).squeeze(1)  # (batch, width)
        logits: Tensor = self.head(states)
        return logits


@register_loss("rocket_launching")
@dataclass(frozen=True)
class RocketLaunching(WeighsClasses):
    """``L(z_b, y) + hint_weight * mean((z_s - z_b)^2)``: a booster ``b`` learns the labels, the student its logits.

    The booster is a stack of new blocks with a head of its own on the student's hidden state of layer ``shared``; the
    layers up to there are the student's, and learn from both. It is the auxiliary module, lives beside the student and
    is never saved with it. No gradient of the second term reaches it. There is no teacher. The student's own task loss
    is ``hard_label``, another term of the objective.

    Args:
        shared: the student's layer that the booster stands on; 0 is the embeddings.
        blocks: how many the booster has, >= 1. It should be deeper than the student: there is a warning where it is
            not.
        hint_weight: of the second term, > 0.
    Shapes:
        student.logits: ``(batch, outputs)`` or ``(batch, tokens, classes)``; hidden state ``(batch, tokens, width)``;
        returns ``()``, float32.
    Units: nats (squared units of the target for a regression) plus squared logits, mean over outputs and examples.
    Raises:
        RequestError: ``shared`` out of range; ``blocks`` or ``hint_weight`` not positive; no labels; no module; a
            span head.
    """

    citations: ClassVar[tuple[Citation, ...]] = (
        Citation(
            "Zhou et al.",
            2018,
            "Rocket Launching: A Universal and Efficient Framework for Training Well-performing Light Net",
            "arXiv:1708.04106",
            differs=(
                "With its gradient block, and the weight of the authors' commands. Their light and booster nets share "
                "blocks one by one or at the bottom; ours at the bottom."
            ),
        ),
    )

    shared: int = 1
    blocks: int = 4
    hint_weight: float = 0.03

    uses_labels: ClassVar[bool] = True
    uses_teacher: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("blocks", self.blocks)
        check_positive("hint_weight", self.hint_weight)
        if isinstance(self.shared, bool) or not isinstance(self.shared, int) or self.shared < 0:
            raise RequestError(f"shared must be a layer of the student, 0 for the embeddings; got {self.shared!r}")

    def resolve(self, student: ModelInfo, teacher: ModelInfo | None) -> Loss:
        check_spans(self.name, student.problem, spans=False)
        if self.shared > student.layers:
            raise RequestError(
                f"shared of {self.name} is layer {self.shared}; the student has {student.layers} layers"
            )
        if self.blocks <= student.layers - self.shared:
            logger.warning(
                "the booster of %s has %d blocks on layer %d and the student %d: it should be the deeper one",
                self.name, self.blocks, self.shared, student.layers - self.shared,
            )  # fmt: skip
        return super().resolve(student, teacher)

    def needs_student(self) -> Needs:
        return Needs(logits=True, hidden_states=frozenset({self.shared}))

    def needs_teacher(self) -> Needs:
        return Needs()

    def make_module(self, student: ModelInfo, teacher: ModelInfo | None) -> nn.Module | None:
        return _Booster(student, self.blocks)

    def __call__(
        self, student: Outputs, teacher: Outputs | None, batch: Batch, module: nn.Module | None = None
    ) -> Tensor:
        booster = require_module(self.name, module, _Booster)
        head = Head(self.name, student, batch, spans=False, class_weights=self.class_numbers)
        states = student.get_hidden_state(self.shared)
        real = student.token_mask(states)
        valid_counts(real)  # refuses a text without any real token
        logits = booster(states, real, every_token=student.get_logits().ndim == 3)
        boosted = dataclasses.replace(student, logits=logits)
        hint = (head.rows(student) - head.rows(boosted).detach()).square().mean(dim=-1)  # (batch, rows)
        labels = HardLabel(class_weights=self.class_weights)(boosted, None, batch)
        return labels + self.hint_weight * head.mean(hint)
