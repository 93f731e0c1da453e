"""What trackers (TensorBoard, Trackio, Weights & Biases) call a stage: one run each, those of a recipe together."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path

from transformers import Trainer, TrainingArguments
from transformers.integrations.integration_utils import TensorBoardCallback, WandbCallback

__all__ = ["names_in_trackers", "tracked_apart"]

GROUP = "WANDB_RUN_GROUP"


def names_in_trackers(run: str, stage: str) -> dict[str, str]:
    """The training arguments that trackers read: the run ``mrpc-student``, in the project (of Trackio) ``mrpc``."""
    return {"run_name": f"{run}-{stage}", "project": run}


@contextmanager
def tracked_apart(trainer: Trainer, arguments: TrainingArguments) -> Iterator[None]:
    """Let what is trained be a run of its own of each tracker.

    Trackio begins and ends its own. TensorBoard has a folder for each, which a stage that is resumed goes on with:
    ``runs`` in that of the stage, or in ``TENSORBOARD_LOGGING_DIR`` one of its name. Weights & Biases is told the
    group, unless the environment does so, and that the run is over.

    Args:
        trainer: before its training.
        arguments: of the stage, with its names.
    """
    mine = trainer.callback_handler.callbacks
    for each in mine:
        if isinstance(each, TensorBoardCallback):
            given = os.environ.get("TENSORBOARD_LOGGING_DIR")
            folder = Path(trainer.args.output_dir or ".") / "runs"
            each.logging_dir = str(folder if given is None else Path(given).expanduser() / str(arguments.run_name))
    if not any(isinstance(each, WandbCallback) for each in mine):
        yield
        return
    with _set({GROUP: str(arguments.project)}):
        try:
            yield
        finally:
            import_module("wandb").finish()


@contextmanager
def _set(variables: Mapping[str, str]) -> Iterator[None]:
    """Environment variables for that time, of those that are not set."""
    new = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)
