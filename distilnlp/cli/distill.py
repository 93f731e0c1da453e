"""``distilnlp distill``"""

from dataclasses import replace
from typing import Annotated, Any

import typer

from distilnlp.cli._options import ACCEPT, AcceptWeakTeacher, TaskName, Training, with_training_options
from distilnlp.cli._recipes import Remove, recipe_from_options
from distilnlp.cli.run import start
from distilnlp.errors import RequestError

__all__ = ["command"]


@with_training_options
def command(
    task: TaskName,
    teacher: Annotated[
        str, typer.Option(help="Folder or Hub id of a model fine-tuned on TASK; of any with --finetune-teacher.")
    ],
    options: Training,
    student_layers: Annotated[
        int | None, typer.Option(min=1, help="Make the student of so many of the teacher's layers.")
    ] = None,
    student: Annotated[str | None, typer.Option(help="Folder or Hub id that the student starts from instead.")] = None,
    finetune_teacher: Annotated[
        bool, typer.Option("--finetune-teacher", help="Fine-tune TEACHER on TASK first, as a stage of its own.")
    ] = False,
    control: Annotated[bool, typer.Option(help="Also train the student without the teacher, to compare.")] = True,
    temperature: Annotated[float | None, typer.Option(help="Of the soft targets. [default: 2]")] = None,
    accept_weak_teacher: AcceptWeakTeacher = False,
) -> None:
    """Distil a teacher into a student on TASK.

    Compares teacher, control (the student trained without the teacher) and student. Give --student-layers or
    --student. The teacher has to be fine-tuned on TASK, by 'finetune' before or here with --finetune-teacher. Epochs
    and learning rate are those of student and control.
    """
    if (student is None) == (student_layers is None):
        raise RequestError("give one of --student-layers (layers of the teacher) and --student (a model)")
    _check_temperature(task, temperature, options.problem_type)
    source = "teacher" if finetune_teacher else teacher
    stages: dict[str, Any] = {
        "teacher": {"model": teacher, "training": {"per_device_train_batch_size": options.batch_size}}
        if finetune_teacher
        else None,
        "student": {
            "teacher": source,
            "student": {"from": source, "layers": student_layers} if student is None else Remove(),
            "model": student,
            "training": options.training,
            "objective": {"response": {"temperature": temperature}},
        },
    }
    if not control:
        stages["control"] = None
    if accept_weak_teacher:
        options = replace(options, settings=[*(options.settings or ()), ACCEPT])
    start(recipe_from_options("distill", task, options, stages), options)


def _check_temperature(task: str, temperature: float | None, problem_type: str | None) -> None:
    """Refuse a temperature where it is known already that the problem has no softmax."""
    from distilnlp.data.glue_table import GLUE
    from distilnlp.problems import get_problem

    known = GLUE[task].problem if task in GLUE else get_problem(problem_type) if problem_type else None
    if temperature is not None and known is not None and not known.named_labels:
        raise RequestError("--temperature is for classes; this task is a regression, whose one logit has no softmax")
