"""``distilnlp distill``"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from distilnlp.cli import _options as options
from distilnlp.cli._recipes import Remove, recipe_from_options
from distilnlp.cli.run import start
from distilnlp.errors import RequestError

if TYPE_CHECKING:
    from distilnlp.recipe import DataSpec

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
    top = {"precision": precision, "seed": seed}
    of_data = [setting for setting in settings or () if setting.startswith("data.")]
    resolved = recipe_from_options("distill", data=data, top=top, stages={}, settings=of_data).data
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
            "objective": _response(resolved, temperature),
        },
    }
    if not control:
        stages["control"] = None
    recipe = recipe_from_options("distill", data=data, top=top, stages=stages, settings=settings or ())
    start(recipe, output, dry_run=dry_run, fresh=fresh)


def _response(data: "DataSpec", temperature: float | None) -> dict[str, Any]:
    """The loss on logits that fits the task's kind: the base recipe's is for exclusive classes."""
    from distilnlp.data.tasks import GLUE

    if data.task in GLUE:
        kind = GLUE[data.task].problem_type
    else:
        from distilnlp.cli._quiet import quiet_libraries

        quiet_libraries()
        from distilnlp.data import load_task

        columns = ("text", "text_pair", "label", "validation", "data_dir", "problem_type")
        kind = load_task(data.task, **{name: getattr(data, name) for name in columns}).problem_type
    if kind == "single_label_classification":
        return {"soft_target": {"temperature": temperature}}
    if kind == "multi_label_classification":
        return {"soft_target": Remove(), "bernoulli_soft_target": {"weight": 0.5, "temperature": temperature or 2.0}}
    if temperature is not None:
        raise RequestError("--temperature is for classes; this task is a regression, whose one logit has no softmax")
    return {"soft_target": Remove(), "logit_mse": {"weight": 0.5}}
