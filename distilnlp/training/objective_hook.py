"""Computes the objective inside the student's own forward pass.

Under DistributedDataParallel every tensor and parameter that a loss uses has to pass through the model's forward, or
the ranks drift apart. So the losses, and what is learned with them, run in a forward hook of the student, and the loss
is what its forward returns while it trains.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from distilnlp.losses import Objective
from distilnlp.models.capture import Capture
from distilnlp.outputs import Outputs

__all__ = ["Attachment"]

MODULES = "distilnlp_modules"


class Attachment:
    """Everything that hangs on the student while it trains; gone after `remove`.

    Between `feed` and the end of the next training pass the student returns ``{"loss": (), "terms": (terms,)}`` in
    place of its usual output; in evaluation mode it is as ever.

    Args:
        model: the model that the trainer calls: a model of transformers, or a PeftModel around one.
        encoder: the model of transformers itself (the same, without PEFT).
        objective: resolved.
        modules: what `Objective.make_modules` made. They become a child of ``model`` while attached, so that the
            optimizer and DistributedDataParallel see their parameters.
    """

    def __init__(
        self, model: nn.Module, encoder: PreTrainedModel, objective: Objective, modules: nn.ModuleDict
    ) -> None:
        self.model = model
        self.objective = objective
        self.modules = modules
        self._fed: tuple[Outputs | None, Mapping[str, Tensor], float] | None = None
        self._capture = Capture(encoder, objective.needs_student())
        self._handles: list[RemovableHandle] = [
            model.register_forward_pre_hook(self._before, with_kwargs=True),
            model.register_forward_hook(self._after),
        ]
        self.show_modules()

    def show_modules(self) -> None:
        """Make the modules a child of the student."""
        if len(self.modules):
            self.model.add_module(MODULES, self.modules)

    def hide_modules(self) -> None:
        """Take the modules off the student, so that saving or loading it meets a plain model."""
        self.model._modules.pop(MODULES, None)

    def remove(self) -> None:
        """Leave the student as it was: no hook, no module, its own attention function."""
        self.hide_modules()
        while self._handles:
            self._handles.pop().remove()
        self._capture.remove()
        self._fed = None

    def feed(self, teacher: Outputs | None, batch: Mapping[str, Tensor], progress: float) -> None:
        """What the next training pass is compared with, and how far the training has come."""
        self._fed = (teacher, batch, progress)

    def _before(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if model.training and self._fed is not None:
            self._capture.start()

    # The hook holds Python state that a compiled graph would freeze.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _after(self, model: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if not model.training or self._fed is None:
            return output
        (teacher, batch, progress), self._fed = self._fed, None
        student = self._capture.finish(output.logits, batch.get("attention_mask"), batch.get("labels"))
        student = dataclasses.replace(student, words=batch.get("words"))
        total, raw = self.objective(student, teacher, batch, self.modules, progress)
        return {"loss": total, "terms": torch.stack([term.detach() for term in raw.values()])}
