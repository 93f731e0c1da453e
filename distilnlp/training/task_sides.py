"""A training of several tasks: what differs from task to task, each seen as the model of that task alone would be."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments

from distilnlp.data.accept import check_class_ids, count_labels_as
from distilnlp.data.collate import Collator, make_collator
from distilnlp.data.example_weights import scale_weights
from distilnlp.data.inspect import dataset_label_names, dataset_problem, has_labels, text_sample, to_tokens
from distilnlp.data.mixture import TaskRows, with_task_id
from distilnlp.errors import RequestError
from distilnlp.losses import Objective
from distilnlp.models.capture import model_info
from distilnlp.models.labels import label_names_of
from distilnlp.models.reading import reading_settings
from distilnlp.models.task_heads import sketch_of_task, tasks_of
from distilnlp.outputs import Outputs
from distilnlp.part import Part
from distilnlp.problems import Problem, problem_of_config
from distilnlp.problems.several_tasks import TASK_ID
from distilnlp.teachers import ByTaskTeacher, Teacher
from distilnlp.teachers.cached import Collate
from distilnlp.training import compatibility
from distilnlp.training.answers import confirm_labels
from distilnlp.training.objective_hook import OfTask

__all__ = ["TaskCollator", "TaskSide", "TaskSides"]


@dataclass(frozen=True)
class TaskSide:
    """One of the tasks of a student.

    Args:
        place: of the task among all.
        sketch: the model of this task alone, without weights.
        teacher: of this task; None without one.
        label_names: as the training data count them, else as the student does; None where neither names them.
    """

    place: int
    sketch: PreTrainedModel
    teacher: Teacher | None
    label_names: tuple[str, ...] | None = None

    @property
    def problem(self) -> Problem:
        """The kind of the task."""
        return problem_of_config(self.sketch.config)


class TaskSides:
    """The tasks of a student, and what a training makes of each.

    Args:
        sides: by name, in the student's order.
    """

    def __init__(self, sides: Mapping[str, TaskSide]) -> None:
        self.sides = dict(sides)

    @classmethod
    def of(cls, student: PreTrainedModel | None, teacher: object) -> "TaskSides | None":
        """Those of a student; None of one with one task.

        Raises:
            RequestError: a teacher that is not by task, or is, and the student has one task.
        """
        tasks = None if student is None else tasks_of(student.config)
        if student is None or tasks is None:
            if isinstance(teacher, ByTaskTeacher):
                names = ", ".join(teacher.members)
                raise RequestError(f"the teacher is of the tasks {names}, and the student of one: join_tasks(...)")
            return None
        if teacher is not None and not isinstance(teacher, ByTaskTeacher):
            raise RequestError(
                f"the student has the tasks {', '.join(tasks.names)}, and {type(teacher).__name__} is one teacher:"
                " give each its own, ByTaskTeacher({...})"
            )
        members = {} if teacher is None else teacher.members
        return cls(
            {
                name: TaskSide(place, sketch_of_task(student, name), members.get(name))
                for place, name in enumerate(tasks.names)
            }
        )

    def check_tokens(self, tokenizer: PreTrainedTokenizerBase | None, train: Mapping[str, Any] | None) -> None:
        """Whether every teacher reads the student's tokens. Raises RequestError for one that does not, by its task."""
        for name, side in self.sides.items():
            theirs, data = None if side.teacher is None else side.teacher.tokenizer, (train or {}).get(name)
            with _told_of(name):
                compatibility.check_members(side.teacher, data, side.problem)
                if tokenizer is not None and theirs is not None:
                    compatibility.check_same_tokens(tokenizer, theirs, text_sample(data))

    def named(self, data: Any, argument: str, *, every: bool) -> dict[str, Any] | None:
        """Data by task. Raises RequestError for other names, for a task without any, and for streams."""
        if data is None:
            return None
        names = ", ".join(self.sides)
        if not isinstance(data, dict) or not data or set(data) - set(self.sides):
            what = f"of {', '.join(map(str, data))}" if isinstance(data, dict) else f"a {type(data).__name__}"
            raise RequestError(
                f"{argument} is {what}, and the student has the tasks {names}: give data for each by name"
            )
        lacking = [name for name in self.sides if name not in data]
        if lacking and every:
            raise RequestError(f"{argument} has no data of the task {lacking[0]}: give some for each of {names}")
        for name, each in data.items():
            if not isinstance(each, Dataset):
                raise RequestError(
                    f"{argument}[{name!r}] is a {type(each).__name__}, and several tasks need a datasets.Dataset each"
                )
        return {name: data[name] for name in self.sides if name in data}

    def take_labels(self, train: Mapping[str, Dataset]) -> None:
        """Let the training data say how labels are counted."""
        for name, side in self.sides.items():
            names = dataset_label_names(train[name]) or label_names_of(side.sketch)
            self.sides[name] = replace(side, label_names=names)

    def tokens(
        self,
        data: Dataset,
        name: str,
        tokenizers: Sequence[PreTrainedTokenizerBase | None],
        max_length: int | None,
        argument: str,
        *,
        words: bool = False,
        held_out: bool = False,
    ) -> Dataset:
        """The data of a task, tokenised, with the column ``task_id``."""
        if TASK_ID in data.column_names:
            return data
        side = self.sides[name]
        if held_out and not has_labels(data):
            raise RequestError(f"{argument} has no labels to measure by: leave it out")
        names = side.label_names if held_out else None
        counted = count_labels_as(
            data, names or (label_names_of(side.sketch) if held_out else None), argument, side.problem
        )
        settings = reading_settings(side.sketch.config)
        made = to_tokens(
            counted, tokenizers, max_length, words=words, problem=side.problem, settings=settings, held_out=held_out
        )
        if not held_out:
            made = scale_weights(made, argument)
        check_class_ids(made, side.problem.head_size(side.sketch.config), argument)
        return with_task_id(made, side.place)

    def collator(self, tokenizer: PreTrainedTokenizerBase) -> "TaskCollator":
        """Makes the batches of every task."""
        return TaskCollator(
            tuple(
                make_collator(tokenizer, side.sketch.config.num_labels, side.problem.label_padding, side.problem)
                for side in self.sides.values()
            )
        )

    def confirm_labels(
        self, tasks: Mapping[str, OfTask], rows: TaskRows, collate: Collate, args: TrainingArguments
    ) -> None:
        """Let every teacher whose logits are read, and whose labels have no names, show that it counts as we do."""
        for name, side in self.sides.items():
            if side.teacher is not None and tasks[name].objective.needs_teacher().logits:
                with _told_of(name):
                    confirm_labels(side.teacher, partial(rows.parts.get, name), collate, args, side.label_names, _ask)

    def resolved(
        self,
        objective: Objective | None,
        raw: Mapping[str, Dataset],
        rows: TaskRows,
        args: TrainingArguments,
        following: Sequence[Part],
    ) -> dict[str, OfTask]:
        """What each task learns by: the objective fixed to its models and data, and the labels of its teacher to ours.

        Args:
            objective: None: the default, as for one task.
            raw: the training data before they are tokenised; ``rows``: after.
            args: of the training.
            following: all parts.
        Raises:
            RequestError: as for one task, with the task's name.
        """
        found: dict[str, OfTask] = {}
        for name, side in self.sides.items():
            info = None if side.teacher is None else side.teacher.info
            others = [part for part in following if not isinstance(part, ByTaskTeacher)]
            with _told_of(name):
                compatibility.match_problem(side.sketch, dataset_problem(raw[name], side.problem))
                fixed = compatibility.resolve_objective(
                    objective, side.sketch, info, rows.parts[name], args, side.label_names, side.teacher, others
                )
                compatibility.match_labels(side.sketch, side.teacher, dataset_label_names(raw[name]), fixed)
            found[name] = OfTask(fixed, model_info(side.sketch), info)
        if args.ddp_find_unused_parameters is None:
            args.ddp_find_unused_parameters = True  # a projection for another task's teacher has no gradient
        return found


@dataclass(frozen=True)
class TaskCollator:
    """Makes batches, each by the collator of its task. A class, for workers that are spawned."""

    collators: tuple[Collator, ...]

    def __call__(self, features: Sequence[Mapping[str, object]]) -> dict[str, Tensor]:
        return self.collators[int(str(features[0][TASK_ID]))](features)


def _ask(teacher: Teacher, batch: Mapping[str, Tensor]) -> Outputs:
    return teacher(batch)


@contextmanager
def _told_of(name: str) -> Iterator[None]:
    """Says of an error which task it is about."""
    try:
        yield
    except RequestError as error:
        raise RequestError(f"task {name}: {error}", error.key) from error
