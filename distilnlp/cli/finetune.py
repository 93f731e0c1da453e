"""``distilnlp finetune``"""

import shlex
from typing import Annotated

import typer

from distilnlp.cli import _options as options
from distilnlp.cli._recipes import recipe_from_options
from distilnlp.cli.run import start

__all__ = ["command"]


def command(
    task: options.TaskName,
    model: Annotated[str, typer.Option(help="Folder or Hub id to start from.")],
    lora: Annotated[bool, typer.Option("--lora", help="Train low-rank adapters only; merged before saving.")] = False,
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
    """Train a model on the labels of TASK.

    The model is written to RUN/teacher, which 'distill --teacher' takes.
    """
    training = {"num_train_epochs": epochs, "per_device_train_batch_size": batch_size, "learning_rate": learning_rate}
    data = {
        "text": text,
        "text_pair": text_pair,
        "label": label,
        "problem_type": problem_type,
        "validation": validation,
        "data_dir": str(data_dir) if data_dir else None,
        "max_length": max_length,
    }
    recipe = recipe_from_options(
        "finetune",
        data={"task": task, **data},
        top={"precision": precision, "seed": seed},
        stages={
            "teacher": {"model": model, "lora": {} if lora else None, "training": training},
            "control": None,
            "student": None,
        },
        settings=settings or (),
    )
    folder = start(recipe, output, dry_run=dry_run, fresh=fresh)
    if folder is not None:
        same = [f"--{key.replace('_', '-')}={value}" for key, value in data.items() if value is not None]
        same += [f"--set={setting}" for setting in settings or () if setting.startswith("data.")]
        words = ["distill", task, "--teacher", str(folder / "teacher"), "--student-layers", "3", *same]
        typer.echo(f"next: distilnlp {shlex.join(words)}")
