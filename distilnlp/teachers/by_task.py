"""A teacher of several tasks: one for each, asked about the batches of its own task alone."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.errors import RequestError, unknown
from distilnlp.outputs import ModelInfo, Needs, Outputs
from distilnlp.part import Part, Training
from distilnlp.problems import problem_of_config
from distilnlp.problems.several_tasks import TASK_ID, SeveralTasks
from distilnlp.teachers.base import Teacher
from distilnlp.teachers.ensemble import EnsembleTeacher
from distilnlp.teachers.frozen import load_teacher

__all__ = ["ByTaskTeacher"]


class ByTaskTeacher(Part):
    """One teacher for each task of a student with several: a model, an ensemble, or recorded answers.

    Each answers the batches of its task, in the order of that task's labels; of two teachers nothing is compared, so
    that they may be of any size.

    Args:
        members: the teachers by the names of the tasks; a model, a folder or a Hub id is loaded.
    Raises:
        RequestError: fewer than two; a teacher that follows the student.
    """

    name = "by_task"

    def __init__(self, members: Mapping[str, Any]) -> None:
        if len(members) < 2:
            raise RequestError(f"a teacher by task is for two tasks or more; got {', '.join(members) or 'none'}")
        self.members: dict[str, Teacher] = {}
        for name, given in members.items():
            teacher = load_teacher(given) if isinstance(given, PreTrainedModel | str | Path) else given
            follows = isinstance(teacher, Part) and not isinstance(teacher, EnsembleTeacher)
            if follows or not isinstance(teacher, Teacher):
                raise RequestError(
                    f"{type(teacher).__name__} cannot teach the task {name}: give a model, an ensemble of models, or"
                    " recorded answers"
                )
            self.members[name] = teacher
        named = ", ".join(f"{name}: {each.info.name}" for name, each in self.members.items())
        self.info = ModelInfo(f"by task ({named})", layers=0, width=0, heads=0, num_logits=0)
        # All read the same tokens.
        known = (each.tokenizer for each in self.members.values() if each.tokenizer is not None)
        self.tokenizer: PreTrainedTokenizerBase | None = next(known, None)
        self.label_names: tuple[str, ...] | None = None
        self.columns = frozenset({TASK_ID}.union(*(each.columns for each in self.members.values())))
        self._order: tuple[str, ...] = ()

    # ---- as a teacher ----

    def prepare(self, where: torch.device, needs: Needs) -> None:
        """Prepare each for what is needed of it (``needs.members``)."""
        for name, member in self.members.items():
            member.prepare(where, needs.members.get(name, Needs()))

    def reorder_labels(self, order: tuple[int, ...]) -> None:
        """Each counts its own labels: put those of a member into another order."""
        raise RuntimeError("a teacher by task has no labels of its own")

    def release(self) -> None:
        """Let every one go."""
        for member in self.members.values():
            member.release()

    def __call__(self, batch: Mapping[str, Tensor]) -> Outputs:
        """What the teacher of the batch's task says of it."""
        return self.members[self._order[int(batch[TASK_ID][0])]](batch)

    # ---- as a part of the training: so are those of its members that are ensembles ----

    def accept(self, student: PreTrainedModel) -> None:
        """Refuse a student of other tasks."""
        tasks = problem_of_config(student.config)
        if not isinstance(tasks, SeveralTasks):
            raise RequestError(f"the student is of one task, and its teachers of {', '.join(self.members)}")
        for name in self.members:
            if name not in tasks.names:
                raise unknown("task", name, tasks.names)
        lacking = next((name for name in tasks.names if name not in self.members), None)
        if lacking is not None:
            raise RequestError(
                f"the task {lacking} has no teacher: give one for each of {', '.join(tasks.names)}, or none at all"
            )
        self._order = tasks.names

    @property
    def _parts(self) -> dict[str, Part]:
        return {name: each for name, each in self.members.items() if isinstance(each, Part)}

    def attach(self, training: Training) -> None:
        for part in self._parts.values():
            part.attach(training)

    def on_step(self, progress: float) -> None:
        for part in self._parts.values():
            part.on_step(progress)

    def state(self) -> Mapping[str, Tensor]:
        return {f"{name}.{key}": tensor for name, part in self._parts.items() for key, tensor in part.state().items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        for name, part in self._parts.items():
            start = f"{name}."
            part.load_state({key.removeprefix(start): each for key, each in state.items() if key.startswith(start)})
