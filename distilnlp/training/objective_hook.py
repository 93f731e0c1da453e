"""Computes the objective inside the student's own forward pass.

Under DistributedDataParallel every tensor and parameter that a loss uses has to pass through the model's forward, or
the ranks drift apart. So the losses and their auxiliary modules run in a forward hook of the student, and the loss is
what its forward returns while it trains.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from distilnlp.data.columns import EXAMPLE_WEIGHT
from distilnlp.losses import Objective
from distilnlp.models.capture import Capture, model_info
from distilnlp.models.heads import head_logits
from distilnlp.outputs import ModelInfo, Outputs
from distilnlp.problems import problem_of_config
from distilnlp.training.parts import Part, Training

__all__ = ["ObjectiveHook"]


class ObjectiveHook(Part):
    """The part of a training that computes the objective.

    Between `feed` and the end of the next training pass the student returns ``{"loss": (), "terms": (terms,)}`` in
    place of its usual output; in evaluation mode it is as ever.

    Args:
        objective: resolved.
        teacher: its sizes; None without one.
    """

    name = "modules"  # and so the checkpoint's file is distilnlp_modules.safetensors

    def __init__(self, objective: Objective, teacher: ModelInfo | None) -> None:
        self.objective = objective
        self.teacher = teacher
        self._modules = nn.ModuleDict()
        self._fed: tuple[Outputs | None, Mapping[str, Tensor], float] | None = None
        self._capture: Capture | None = None
        self._handles: list[RemovableHandle] = []

    def attach(self, training: Training) -> None:
        """Hang capture and objective on the student. Raises RequestError for a layer that it has not."""
        with torch.random.fork_rng(devices=[]):  # a projection must not change the student's dropout
            torch.manual_seed(training.seed)
            modules = self.objective.make_modules(model_info(training.student), self.teacher)
        self.auxiliary_modules = self._modules = modules.to(training.device)
        self._capture = Capture(training.student, self.objective.needs_student())
        self._handles = [
            training.model.register_forward_pre_hook(self._before, with_kwargs=True),
            training.model.register_forward_hook(self._after),
        ]

    def finish(self) -> None:
        """Leave the student as it was: no hook, its own attention function."""
        while self._handles:
            self._handles.pop().remove()
        if self._capture is not None:
            self._capture.remove()
        self._capture = self._fed = None

    def feed(self, teacher: Outputs | None, batch: Mapping[str, Tensor], progress: float) -> None:
        """What the next training pass is compared with, and how far the training has come."""
        self._fed = (teacher, batch, progress)

    def _before(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if model.training and self._fed is not None and self._capture is not None:
            self._capture.start()

    # The hook holds Python state that a compiled graph would freeze.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _after(self, model: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if not model.training or self._fed is None or self._capture is None:
            return output
        (teacher, batch, progress), self._fed = self._fed, None
        problem = problem_of_config(self._capture.model.config)
        logits, batch = problem.scored(head_logits(output), batch)
        student = self._capture.finish(logits, batch.get("attention_mask"), batch.get("labels"))
        student = dataclasses.replace(student, words=batch.get("words"), weights=_weights(batch))
        total, raw = self.objective(student, teacher, batch, self._modules, progress)
        return {"loss": total, "terms": torch.stack([term.detach() for term in raw.values()])}


def _weights(batch: Mapping[str, Tensor]) -> Tensor | None:
    """How much each input counts; of the texts of queries, so that a mean over them is one over the queries."""
    if "groups" not in batch:
        return batch.get(EXAMPLE_WEIGHT)
    texts = len(batch["input_ids"])
    groups = batch["groups"]  # (queries, most texts)
    there = (groups >= 0).float()
    shares = there * (texts / len(groups)) / there.sum(dim=-1, keepdim=True)
    return shares.new_zeros(texts).index_add(0, groups.clamp_min(0).flatten(), shares.flatten())
