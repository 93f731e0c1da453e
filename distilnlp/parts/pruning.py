"""Feed-forward units that are taken out of the student, more and more, while it learns to do without them."""

import logging
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from distilnlp.errors import RequestError
from distilnlp.models.units import cut_units, feed_forward, own_layers
from distilnlp.part import Part, Training, register_part
from distilnlp.typed import typed

__all__ = ["Pruning"]

logger = logging.getLogger(__name__)

DECAY = 0.9  # of the mean of squared gradients, a step


@register_part("pruning")
class Pruning(Part):
    """Multiplies feed-forward units with 0, in every layer as many, and takes them out when the training is over.

    After a share p of the training, so many units of each layer are silent as ``1 - (1 - t) ** 3`` of those that go,
    with t rising from 0 at p = ``start`` to 1 at p = ``until``. Which ones is decided anew after each step, by what
    they scored so far: a unit that was silent may come back. Evaluations are of the student as it is then. In the end
    the student is a plain model with a smaller ``intermediate_size``.

    Args:
        intermediate_size: units that each layer is left with, 1 or more and fewer than there are.
        score: ``movement``: the sum over the steps of the derivative of the loss by the unit's mask, with the opposite
            sign, which is how far its weights move away from 0; ``gradient``: a mean of its square, with which 0.9 of
            the mean before stays; ``magnitude``: the length of what the unit reads with times that of what it writes
            with.
        start, until: shares of the training, 0 <= start < until <= 1.
    Units: movement: those of the loss; gradient: squared.
    Source: Sanh et al. 2020, "Movement pruning", arXiv:2005.07683, equations 3 to 5, for single weights, of which the
        sum over a unit's weights is taken here, as in Lagunas et al. 2021, arXiv:2109.04838; Molchanov et al. 2019,
        arXiv:1906.10771, for ``gradient``; Zhu & Gupta 2017, arXiv:1710.01878, equation 1, for the schedule.
    Raises:
        RequestError: a value out of its range; an architecture whose units are not known; adapters (LoRA), or the best
            checkpoint as the outcome, which may be one with more units.
    """

    name = "pruning"
    reshapes = True

    @typed
    def __init__(
        self,
        intermediate_size: int,
        score: Literal["movement", "gradient", "magnitude"] = "movement",
        start: float = 0.1,
        until: float = 0.7,
    ) -> None:
        if intermediate_size < 1:
            raise RequestError(f"intermediate_size is 1 or more; got {intermediate_size}", key=["intermediate_size"])
        if not 0 <= start < until <= 1:
            raise RequestError(
                f"0 <= start < until <= 1 is needed; got start={start:g}, until={until:g}", key=["until"]
            )
        self.intermediate_size = intermediate_size
        self.score = score
        self.start = float(start)
        self.until = float(until)
        self._student: PreTrainedModel | None = None
        self._progress = 0.0
        self._masks: list[Tensor] = []
        self._scores: list[Tensor] = []
        self._handles: list[RemovableHandle] = []

    def silent_at(self, progress: float, units: int) -> int:
        """How many of so many units of a layer are silent after a share ``progress`` of the training."""
        time = min(1.0, max(0.0, (progress - self.start) / (self.until - self.start)))
        return round((units - self.intermediate_size) * (1 - (1 - time) ** 3))

    def accept(self, student: PreTrainedModel) -> None:
        """Refuse a student whose units are not known, or that has no more of them than are to be left."""
        units = {feed_forward(student, layer)[1].in_features for layer in own_layers(student)}
        if min(units) <= self.intermediate_size:
            raise RequestError(
                f"pruning to an intermediate_size of {self.intermediate_size}: the student has {min(units)} "
                "feed-forward units in a layer, give fewer"
            )

    def attach(self, training: Training) -> None:
        """Put a mask in front of what reads the units."""
        arguments = training.arguments
        if arguments is not None and arguments.load_best_model_at_end:
            raise RequestError(
                "pruning: the best checkpoint may be one that has more units still: leave load_best_model_at_end out"
            )
        self._student, self._progress = training.student, 0.0
        read = [feed_forward(training.student, layer)[1] for layer in own_layers(training.student)]
        self._masks = [torch.ones(each.in_features, device=training.device, requires_grad=True) for each in read]
        self._scores = [torch.zeros_like(mask, requires_grad=False) for mask in self._masks]
        self._handles = [
            each.register_forward_pre_hook(_silence(mask)) for each, mask in zip(read, self._masks, strict=True)
        ]

    @torch.no_grad()
    def on_step(self, progress: float) -> None:
        """Score every unit by the step, and silence those that scored least."""
        self._progress = progress
        if self._student is None:
            return
        layers = own_layers(self._student)
        for mask, score, layer in zip(self._masks, self._scores, layers, strict=True):
            if self.score == "magnitude":
                into, out = feed_forward(self._student, layer)
                lengths = into.weight.unflatten(0, (-1, len(score))).square().sum((0, 2)).sqrt()
                score.copy_(lengths * out.weight.norm(dim=0))
            else:
                self._take(mask, score)
            silent = self.silent_at(progress, len(mask))
            mask.fill_(1)
            mask[score.argsort(stable=True)[:silent]] = 0

    def _take(self, mask: Tensor, score: Tensor) -> None:
        """Add the derivative of the step to a layer's scores; of all processes, which so decide alike."""
        gradient = torch.zeros_like(score) if mask.grad is None else mask.grad.clone()
        mask.grad = None
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(gradient)
        if not gradient.isfinite().all():  # of a step that fp16 left out
            return
        if self.score == "movement":
            score.sub_(gradient)
        else:
            score.mul_(DECAY).add_(gradient.square(), alpha=1 - DECAY)

    def state(self) -> Mapping[str, Tensor]:
        """Masks and scores, ``(layers, units)``."""
        if not self._masks:
            return {}
        return {"masks": torch.stack(self._masks), "scores": torch.stack(self._scores)}

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on with the units that were silent."""
        for own, found in ((self._masks, state["masks"]), (self._scores, state["scores"])):
            for tensor, saved in zip(own, found, strict=True):
                tensor.copy_(saved)

    def finish(self) -> None:
        """Take the silent units out; nothing, where the training ended before it was to be over with."""
        while self._handles:
            self._handles.pop().remove()
        if self._student is not None and self._progress >= self.until:
            cut_units(self._student, [mask.detach().nonzero().flatten() for mask in self._masks])
        elif self._progress > 0:
            logger.warning(
                "pruning: the training ended after %.0f %%, and the units are out after %.0f %%: all are left",
                *(100 * self._progress, 100 * self.until),
            )
        self._student, self._progress, self._masks, self._scores = None, 0.0, [], []


def _silence(mask: Tensor) -> Any:
    def multiply(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0] * mask.to(args[0]), *args[1:])

    return multiply
