"""``distilnlp finetune``"""

import shlex
from typing import Annotated

import typer

from distilnlp.cli._options import Processes, TaskName, Training, with_options
from distilnlp.cli._recipes import recipe_from_options
from distilnlp.cli.run import start
from distilnlp.errors import RequestError

__all__ = ["command"]


@with_options(Training)
def command(
    task: TaskName,
    model: Annotated[str, typer.Option(help="Folder or Hub id to start from.")],
    options: Training,
    lora: Annotated[bool, typer.Option("--lora", help="Train low-rank adapters only; merged before saving.")] = False,
    processes: Processes = 1,
) -> None:
    """Train a model on the labels of TASK.

    The model is written to RUN/teacher, which 'distill --teacher' takes.
    """
    from distilnlp.problems import find_problem

    kind = find_problem(options.problem_type)
    if kind is not None and kind.taught_alone:
        raise RequestError(
            "vectors are learned from a teacher, and no labels teach them: distilnlp distill, with a sentence encoder "
            "as --teacher"
        )
    if kind is not None and kind.apart:
        raise RequestError(
            f"{options.problem_type} is learned from a cross-encoder's scores, and from labels alone as the control"
            " beside it: distilnlp distill"
        )
    stages = {
        "teacher": {"model": model, "lora": {} if lora else None, "training": options.training},
        "control": None,
        "student": None,
    }
    folder = start(recipe_from_options("finetune", task, options, stages), options, processes=processes)
    if folder is not None:
        same = [
            f"--{key.replace('_', '-')}={each}"
            for key, value in options.data.items()
            for each in (value if isinstance(value, list) else [value])
            if each is not None
        ]
        same += [f"--set={setting}" for setting in options.settings or () if setting.startswith("data.")]
        words = ["distill", task, "--teacher", str(folder / "teacher"), "--student-layers", "3", *same]
        typer.echo(f"next: distilnlp {shlex.join(words)}")
