"""Computes the objective inside the student's own forward pass.

Under DistributedDataParallel every tensor and parameter that a loss uses has to pass through the model's forward, or
the ranks drift apart. So the losses and their auxiliary modules run in a forward hook of the student, and the loss is
what its forward returns while it trains.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel

from distilnlp.data.columns import EXAMPLE_WEIGHT
from distilnlp.losses import Objective
from distilnlp.models.capture import Capture, model_info
from distilnlp.models.heads import head_logits
from distilnlp.outputs import Answers, ModelInfo, Needs, Outputs
from distilnlp.part import Part, Pass, Training
from distilnlp.problems import Problem, problem_of_config
from distilnlp.problems.several_tasks import SeveralTasks

__all__ = ["ObjectiveHook", "OfTask"]


@dataclasses.dataclass(frozen=True)
class OfTask:
    """What one of several tasks learns by.

    Args:
        objective: resolved.
        student, teacher: the sizes of the model of this task alone, and of its teacher; None without one.
    """

    objective: Objective
    student: ModelInfo
    teacher: ModelInfo | None


class ObjectiveHook(Part):
    """The part of a training that computes the objective.

    Between `feed` and the end of the next training pass the student returns ``{"loss": (), "terms": (terms,)}`` in
    place of its usual output; in evaluation mode it is as ever.

    Args:
        objective: resolved.
        teacher: its sizes; None without one.
        parts: the others of the training, of which each that has a weight adds a term.
        tasks: of a student of several tasks what each learns by and from, by name, in place of the first two.
        phase: begins a part of the step, by its name: whoever measures tells the student's pass from the losses.
    """

    name = "modules"  # and so the checkpoint's file is distilnlp_modules.safetensors

    def __init__(
        self,
        objective: Objective,
        teacher: ModelInfo | None,
        parts: Sequence[Part] = (),
        tasks: Mapping[str, OfTask] = MappingProxyType({}),
        phase: Callable[[str], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        self.objective = objective
        self.teacher = teacher
        self.tasks = tasks
        self._phase = phase
        self.parts = tuple(part for part in parts if part.weight > 0)
        self._freezes = any(part.freezes for part in parts)
        self._modules = nn.ModuleDict()
        self._fed: tuple[Answers | Callable[[Outputs], Answers] | None, Mapping[str, Tensor], float] | None = None
        self._capture: Capture | None = None
        self._handles: list[RemovableHandle] = []

    def needs_student(self) -> Needs:
        """What the objective and the terms of the parts read of the student."""
        needs = self.objective.needs_student()
        for each in self.tasks.values():
            needs |= each.objective.needs_student()
        for part in self.parts:
            needs |= part.needs_student()
        return needs

    def needs_teacher(self) -> Needs:
        """What they read of the teacher; of one of several tasks, under its name."""
        needs = Needs(members={name: each.objective.needs_teacher() for name, each in self.tasks.items()})
        if not self.tasks:
            needs = self.objective.needs_teacher()
        for part in self.parts:
            needs |= part.needs_teacher()
        return needs

    def attach(self, training: Training) -> None:
        """Hang capture and objective on the student. Raises RequestError for a layer that it has not."""
        with torch.random.fork_rng(devices=[]):  # a projection must not change the student's dropout
            torch.manual_seed(training.seed)
            modules = self._make_modules(training.student)
        self.auxiliary_modules = self._modules = modules.to(training.device)
        self._capture = Capture(training.student, self.needs_student(), learns=not self._freezes)
        self._handles = [
            training.model.register_forward_pre_hook(self._before, with_kwargs=True),
            training.model.register_forward_hook(self._after),
        ]

    def _make_modules(self, student: PreTrainedModel) -> nn.ModuleDict:
        if not self.tasks:
            return self.objective.make_modules(model_info(student), self.teacher)
        made = {name: each.objective.make_modules(each.student, each.teacher) for name, each in self.tasks.items()}
        return nn.ModuleDict({name: modules for name, modules in made.items() if len(modules)})

    def _of_batch(self, problem: Problem, batch: Mapping[str, Tensor]) -> tuple[Objective, nn.ModuleDict]:
        """What a batch is compared by."""
        if not isinstance(problem, SeveralTasks):
            return self.objective, self._modules
        name = problem.task_of(batch).name
        modules = self._modules[name] if name in self._modules else nn.ModuleDict()
        return self.tasks[name].objective, cast("nn.ModuleDict", modules)

    def finish(self) -> None:
        """Leave the student as it was: no hook, its own attention function."""
        while self._handles:
            self._handles.pop().remove()
        if self._capture is not None:
            self._capture.remove()
        self._capture = self._fed = None

    def feed(
        self, teacher: Answers | Callable[[Outputs], Answers] | None, batch: Mapping[str, Tensor], progress: float
    ) -> None:
        """What the next training pass is compared with, and how far the training has come.

        Args:
            teacher: what it gave; or what asks it, within the pass, told of what the student gave.
        """
        self._fed = (teacher, batch, progress)

    def _before(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if model.training and self._fed is not None and self._capture is not None:
            self._capture.start()

    # The hook holds Python state that a compiled graph would freeze.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _after(self, model: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if not model.training or self._fed is None or self._capture is None:
            return output
        fed, self._fed = self._fed, None
        with self._phase("losses"):
            return self._compared(model, self._capture, output, *fed)

    def _compared(
        self,
        model: nn.Module,
        capture: Capture,
        output: Any,
        fed: Answers | Callable[[Outputs], Answers] | None,
        batch: Mapping[str, Tensor],
        progress: float,
    ) -> dict[str, Tensor]:
        problem = problem_of_config(capture.model.config)
        objective, modules = self._of_batch(problem, batch)
        logits, batch = problem.scored(head_logits(output), batch)
        student = capture.finish(logits, batch.get("attention_mask"), batch.get("labels"))
        own = None if student.problem is None else problem.of_batch(batch)
        student = dataclasses.replace(student, words=batch.get("words"), weights=_weights(batch), problem=own)
        teacher = fed(student) if callable(fed) else fed
        total, raw = objective(student, teacher, batch, modules, progress)
        values = list(raw.values())
        answer = teacher if isinstance(teacher, Outputs) else None
        alone = any(part.alone for part in self.parts)
        total = total.detach() if alone else total
        for part in self.parts:
            with torch.autocast(device_type=total.device.type, enabled=False):
                value = part.term(Pass(model, student, answer, batch, progress))
            values.append(value)
            total = total + part.weight * (value.detach() if alone and not part.alone else value)
        return {"loss": total, "terms": torch.stack([value.detach() for value in values])}


def _weights(batch: Mapping[str, Tensor]) -> Tensor | None:
    """How much each input counts; of the texts of queries, so that a mean over them is one over the queries."""
    if "groups" not in batch:
        return batch.get(EXAMPLE_WEIGHT)
    texts = len(batch["input_ids"])
    groups = batch["groups"]  # (queries, most texts)
    there = (groups >= 0).float()
    shares = there * (texts / len(groups)) / there.sum(dim=-1, keepdim=True)
    return shares.new_zeros(texts).index_add(0, groups.clamp_min(0).flatten(), shares.flatten())
