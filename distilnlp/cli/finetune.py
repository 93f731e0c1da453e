"""``distilnlp finetune``"""

import shlex
from typing import Annotated

import typer

from distilnlp.cli._options import Processes, TaskName, Training, with_options
from distilnlp.cli._quiet import quiet_libraries
from distilnlp.cli.run import start

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
    quiet_libraries()
    from distilnlp.run.distilling import finetuning

    request = options.request("finetune", task)
    folder = start(finetuning(request, model, lora=lora), options, processes=processes)
    if folder is not None:
        same = [
            f"--{key.replace('_', '-')}={each}"
            for key, value in request.data.items()
            for each in (value if isinstance(value, list) else [value])
            if each is not None
        ]
        same += [f"--set={setting}" for setting in options.settings or () if setting.startswith("data.")]
        words = ["distill", task, "--teacher", str(folder / "teacher"), "--student-layers", "3", *same]
        typer.echo(f"next: distilnlp {shlex.join(words)}")
