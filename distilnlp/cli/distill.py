"""``distilnlp distill``"""

from typing import Annotated

import typer

from distilnlp.cli._options import AcceptWeakTeacher, Processes, TaskName, Training, with_options
from distilnlp.cli._quiet import quiet_libraries
from distilnlp.cli.run import start

__all__ = ["command"]


@with_options(Training)
def command(
    task: TaskName,
    options: Training,
    teacher: Annotated[
        str | None,
        typer.Option(help="Folder or Hub id of a model fine-tuned on TASK; of any with --finetune-teacher."),
    ] = None,
    teacher_column: Annotated[
        list[str] | None,
        typer.Option(
            help="Instead: column of TASK with a teacher's recorded answers; prob_* or repeated: one a class."
        ),
    ] = None,
    teacher_values: Annotated[
        str | None, typer.Option(help="probabilities or logits. [default: logits where the column's name ends so]")
    ] = None,
    teacher_confidence: Annotated[
        str | None, typer.Option(help="Column of the probability of the label in --teacher-column.")
    ] = None,
    teacher_labels: Annotated[
        str | None, typer.Option(help="a,b,c: the labels of the numbers in a list. [default: those of the data]")
    ] = None,
    teacher_missing: Annotated[
        str | None, typer.Option(help="A row without an answer: refuse it, or let its label stand for it. [refuse]")
    ] = None,
    student_layers: Annotated[
        int | None, typer.Option(min=1, help="Make the student of so many of the teacher's layers.")
    ] = None,
    student_vocabulary: Annotated[
        str | None,
        typer.Option(
            metavar="needed|TOKENS",
            help="Keep the tokens that the training texts need, or so many of them at most; with --student-layers.",
        ),
    ] = None,
    student: Annotated[str | None, typer.Option(help="Folder or Hub id that the student starts from instead.")] = None,
    finetune_teacher: Annotated[
        bool, typer.Option("--finetune-teacher", help="Fine-tune TEACHER on TASK first, as a stage of its own.")
    ] = False,
    control: Annotated[bool, typer.Option(help="Also train the student without the teacher, to compare.")] = True,
    temperature: Annotated[float | None, typer.Option(help="Of the soft targets. [default: 2]")] = None,
    processes: Processes = 1,
    accept_weak_teacher: AcceptWeakTeacher = False,
) -> None:
    """Distil a teacher into a student on TASK.

    Compares teacher, control (the student trained without the teacher) and student. Give --student-layers or
    --student. The teacher has to be fine-tuned on TASK, by 'finetune' before or here with --finetune-teacher, or its
    answers stand in the data (--teacher-column). Epochs and learning rate are those of student and control. Texts
    without labels (also a txt file) are learned from the teacher alone.
    """
    quiet_libraries()
    from distilnlp.run.distilling import distillation

    recipe = distillation(
        options.request("distill", task),
        teacher=teacher,
        teacher_column=teacher_column,
        teacher_values=teacher_values,
        teacher_confidence=teacher_confidence,
        teacher_labels=None if teacher_labels is None else [each.strip() for each in teacher_labels.split(",")],
        teacher_missing=teacher_missing,
        student_layers=student_layers,
        student_vocabulary=student_vocabulary,
        student=student,
        finetune_teacher=finetune_teacher,
        control=control,
        temperature=temperature,
        accept_weak_teacher=accept_weak_teacher,
    )
    start(recipe, options, processes=processes)
