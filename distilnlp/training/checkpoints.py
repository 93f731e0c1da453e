"""Model folders and checkpoints that are complete or absent, whenever the process is killed."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from transformers import TrainerState, TrainingArguments
from transformers.trainer_utils import sort_checkpoints

from distilnlp.errors import RunError
from distilnlp.training.objective_hook import Attachment

__all__ = ["STAGING", "full_disk_is_named", "hidden", "publish", "remove_incomplete", "staged_files"]

STAGING = ".incomplete"


def remove_incomplete(run_dir: Path) -> None:
    """Delete what a killed run left half-written."""
    shutil.rmtree(run_dir / STAGING, ignore_errors=True)


@contextmanager
def staged_files(target: Path, writes: bool) -> Iterator[Path]:
    """A folder to write into; afterwards its files stand in ``target``, and before that none of them.

    A new folder appears in one rename. Into a folder that is there each file is renamed, the weights last, since
    without them no one takes it for a model.

    Args:
        target: where the files belong.
        writes: whether this process writes (the others get ``target`` and must not).
    """
    if not writes:
        yield target
        return
    staging = target.parent / f".{target.name}.incomplete"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
        if not target.exists():
            os.replace(staging, target)
            return
        for file in sorted(staging.iterdir(), key=lambda path: path.suffix == ".safetensors"):
            os.replace(file, target / file.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def hidden(attachment: Attachment | None) -> Iterator[None]:
    """The student without what is learned beside it, for the time of saving or loading it."""
    if attachment is None:
        yield
        return
    attachment.hide_modules()
    try:
        yield
    finally:
        attachment.show_modules()


def publish(state: TrainerState, args: TrainingArguments, staging: Path, run_dir: Path) -> None:
    """Rename a finished checkpoint into its place and delete those that ``save_total_limit`` makes superfluous.

    Every process calls it: each holds the path of the best checkpoint, which was noted as the staged one.
    """
    best = state.best_model_checkpoint
    if best is not None and Path(best).parent == staging:
        state.best_model_checkpoint = str(run_dir / Path(best).name)
    if not args.should_save:
        return
    name = f"checkpoint-{state.global_step}"
    state.save_to_json(str(staging / name / "trainer_state.json"))
    # One left by a run that was resumed from an earlier step.
    _delete(run_dir / name, staging)
    os.replace(staging / name, run_dir / name)
    for checkpoint in _superfluous(run_dir, args.save_total_limit, state.best_model_checkpoint):
        _delete(checkpoint, staging)
    shutil.rmtree(staging)


def _superfluous(run_dir: Path, limit: int | None, best: str | None) -> list[Path]:
    """The oldest checkpoints above the limit; the best one and the last one stay in any case."""
    found = [Path(path) for path in sort_checkpoints(str(run_dir))]
    if limit is None or limit <= 0:
        return []
    stay = {found[-1], Path(best or found[-1])}
    return [path for path in found if path not in stay][: max(len(found) - max(limit, len(stay)), 0)]


def _delete(checkpoint: Path, staging: Path) -> None:
    """Take a checkpoint out of sight in one step, then delete it: a kill in between leaves no half one to resume."""
    if checkpoint.is_dir():
        doomed = staging / f"{checkpoint.name}.old"
        os.replace(checkpoint, doomed)
        shutil.rmtree(doomed, ignore_errors=True)


@contextmanager
def full_disk_is_named(target: Path) -> Iterator[None]:
    """Say in one line that the disk is full; each writer has its own way, and torch does not tell the reason at all.

    Raises:
        RunError: ``target`` cannot be written.
    """
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        full = isinstance(error, OSError) and error.errno == errno.ENOSPC
        if not full and "No space left" not in str(error) and "inline_container" not in str(error):
            raise
        raise RunError(
            f"{target} cannot be written, the disk is full: what was saved before is whole; free some space and go on "
            "from the last checkpoint"
        ) from error
