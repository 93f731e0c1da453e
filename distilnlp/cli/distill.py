"""``distilnlp distill``"""

from typing import Annotated, Any

import typer

from distilnlp.cli import _options as options
from distilnlp.cli._recipes import Remove, recipe_from_options
from distilnlp.cli.run import start
from distilnlp.errors import RequestError

__all__ = ["command"]


def command(
    task: options.TaskName,
    teacher: Annotated[
        str, typer.Option(help="Folder or Hub id of a model fine-tuned on TASK; of any with --finetune-teacher.")
    ],
    student_layers: Annotated[
        int | None, typer.Option(min=1, help="Make the student of so many of the teacher's layers.")
    ] = None,
    student: Annotated[str | None, typer.Option(help="Folder or Hub id that the student starts from instead.")] = None,
    finetune_teacher: Annotated[
        bool, typer.Option("--finetune-teacher", help="Fine-tune TEACHER on TASK first, as a stage of its own.")
    ] = False,
    control: Annotated[bool, typer.Option(help="Also train the student without the teacher, to compare.")] = True,
    temperature: Annotated[float | None, typer.Option(help="Of the soft targets. [default: 2]")] = None,
    text: options.Text = None,
    text_pair: options.TextPair = None,
    label: options.Label = None,
    problem_type: options.ProblemType = None,
    validation: options.Validation = None,
    data_dir: options.DataDir = None,
    max_length: options.MaxLength = None,
    epochs: options.Epochs = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    precision: options.Precision = None,
    seed: options.Seed = None,
    output: options.Output = None,
    settings: options.Set = None,
    dry_run: options.DryRun = False,
    fresh: options.Fresh = False,
) -> None:
    """Distil a teacher into a student on TASK.

    Compares teacher, control (the student trained without the teacher) and student. Give --student-layers or
    --student. The teacher has to be fine-tuned on TASK, by 'finetune' before or here with --finetune-teacher. Epochs
    and learning rate are those of student and control.
    """
    if (student is None) == (student_layers is None):
        raise RequestError("give one of --student-layers (layers of the teacher) and --student (a model)")
    data = {
        "task": task,
        "text": text,
        "text_pair": text_pair,
        "label": label,
        "problem_type": problem_type,
        "validation": validation,
        "data_dir": str(data_dir) if data_dir else None,
        "max_length": max_length,
    }
    from distilnlp.data.glue_table import GLUE
    from distilnlp.problems import get_problem

    known = GLUE[task].problem if task in GLUE else get_problem(problem_type) if problem_type else None
    if temperature is not None and known is not None and not known.named_labels:
        raise RequestError("--temperature is for classes; this task is a regression, whose one logit has no softmax")
    top = {"precision": precision, "seed": seed}
    source = "teacher" if finetune_teacher else teacher
    training = {"num_train_epochs": epochs, "per_device_train_batch_size": batch_size, "learning_rate": learning_rate}
    stages: dict[str, Any] = {
        "teacher": {"model": teacher, "training": {"per_device_train_batch_size": batch_size}}
        if finetune_teacher
        else None,
        "student": {
            "teacher": source,
            "student": {"from": source, "layers": student_layers} if student is None else Remove(),
            "model": student,
            "training": training,
            "objective": {"response": {"temperature": temperature}},
        },
    }
    if not control:
        stages["control"] = None
    recipe = recipe_from_options("distill", data=data, top=top, stages=stages, settings=settings or ())
    start(recipe, output, dry_run=dry_run, fresh=fresh)
