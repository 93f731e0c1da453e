"""Several tasks of one model: each of a kind of its own, and its head a part of the model's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from distilnlp.errors import RequestError, unknown
from distilnlp.problems.base import Problem, find_problem, get_problem, register_problem

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TASKS", "TASK_ID", "OneTask", "SeveralTasks", "settings_of"]

# The field of a model's config that says which of its logits are of which task, and what they mean.
TASKS = "distilnlp_tasks"

# The column of tokenised data and of a batch that says which task a row is of, by its place; all rows of a batch are
# of one.
TASK_ID = "task_id"


@dataclass(frozen=True)
class OneTask:
    """One of several tasks.

    Args:
        name: of the task.
        problem: its kind.
        label_names: its labels in the order of its logits; None where they have no names.
        start, stop: where its logits stand among the model's, the last excluded.
    """

    name: str
    problem: Problem
    label_names: tuple[str, ...] | None
    start: int
    stop: int


@register_problem("several_tasks")
@dataclass(frozen=True)
class SeveralTasks(Problem):
    """Several tasks with a head each, side by side in one layer. A batch is of one task, and of that one's kind.

    No data are of this kind, and nothing is decided or measured by it: that is done for each task alone.

    Args:
        tasks: in the order of their logits.
    """

    tasks: tuple[OneTask, ...] = ()

    of_data: ClassVar[bool] = False
    takes_other_tokens: ClassVar[bool] = False

    def of_config(self, config: Any) -> SeveralTasks:
        """With the tasks that a config tells of. Raises RequestError for a config that tells of none, or wrongly."""
        said = getattr(config, TASKS, None)
        if not isinstance(said, Sequence) or not said or not all(isinstance(each, Mapping) for each in said):
            raise RequestError(f"{TASKS} in the model's config is {said!r:.60}: a list of its tasks is needed")
        found: list[OneTask] = []
        for each in said:
            kind, names = find_problem(str(each.get("problem_type"))), each.get("label_names")
            if kind is None or not (names is None or isinstance(names, Sequence)):
                raise RequestError(f"{TASKS} in the model's config holds {dict(each)!r:.80}, which is no task")
            labels = None if names is None else tuple(map(str, names))
            start = found[-1].stop if found else 0
            found.append(OneTask(str(each.get("name")), kind, labels, start, start + kind.num_logits(labels)))
        if found[-1].stop != config.num_labels:
            raise RequestError(
                f"the tasks in the model's config have {found[-1].stop} logits, and its head {config.num_labels}"
            )
        return SeveralTasks(tuple(found))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the tasks."""
        return tuple(task.name for task in self.tasks)

    def task(self, name: str) -> OneTask:
        """One of the tasks. Raises RequestError with the nearest match."""
        found = next((each for each in self.tasks if each.name == name), None)
        if found is None:
            raise unknown("task", name, self.names)
        return found

    def task_of(self, batch: Mapping[str, Tensor]) -> OneTask:
        """The task that the rows of a batch are of. Raises RequestError for a batch that does not tell it."""
        if TASK_ID not in batch:
            raise RequestError(
                f"a batch does not tell which of the tasks {', '.join(self.names)} it is of: the column {TASK_ID} is"
                " needed"
            )
        return self.tasks[int(batch[TASK_ID][0])]

    def of_batch(self, batch: Mapping[str, Tensor]) -> Problem:
        return self.task_of(batch).problem

    def scored(self, logits: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The logits of the task that the batch is of."""
        task = self.task_of(batch)
        return logits[..., task.start : task.stop], batch


def settings_of(tasks: Mapping[str, tuple[str, Sequence[str] | None]]) -> list[dict[str, Any]]:
    """What a config says of tasks, each with its kind and its labels."""
    return [
        {"name": name, "problem_type": get_problem(kind).name, "label_names": None if labels is None else list(labels)}
        for name, (kind, labels) in tasks.items()
    ]
