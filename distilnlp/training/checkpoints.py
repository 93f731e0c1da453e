"""Model folders and checkpoints that are complete or absent, whenever the process is killed."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from transformers import TrainerState, TrainingArguments
from transformers.trainer_utils import sort_checkpoints

from distilnlp.errors import RunError

__all__ = ["STAGING", "full_disk_is_named", "remove_incomplete", "staged_checkpoint", "staged_files"]

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
def staged_checkpoint(
    state: TrainerState, args: TrainingArguments, run_dir: Path, wait_for_everyone: Callable[[], object]
) -> Iterator[None]:
    """The checkpoint that is written meanwhile appears in ``run_dir`` in one rename when it is whole, or never.

    It is written where ``args.output_dir`` says, which is another folder as long as this lasts. Every process calls
    it.

    Args:
        state, args: of the training.
        run_dir: where its checkpoints belong: ``args.output_dir``, or a folder in there for a trial of a search.
        wait_for_everyone: returns when every process has called it.
    Raises:
        RunError: the disk is full; what was written is removed.
    """
    staging, place = run_dir / STAGING, args.output_dir
    written = staging / run_dir.relative_to(Path(place or "."))
    args.output_dir = str(staging)
    try:
        with full_disk_is_named(run_dir):
            yield
    except Exception:
        remove_incomplete(run_dir)  # a full disk has better uses for the space
        raise
    finally:
        args.output_dir = place
    wait_for_everyone()
    with full_disk_is_named(run_dir):
        _publish(state, args, written, run_dir)
    wait_for_everyone()


def _publish(state: TrainerState, args: TrainingArguments, written: Path, run_dir: Path) -> None:
    """Rename a finished checkpoint into its place and delete those that ``save_total_limit`` makes superfluous.

    Each process holds the path of the best checkpoint, which was noted as the staged one.
    """
    staging, best = run_dir / STAGING, state.best_model_checkpoint
    if best is not None and Path(best).parent == written:
        state.best_model_checkpoint = str(run_dir / Path(best).name)
    if not args.should_save:
        return
    name = f"checkpoint-{state.global_step}"
    state.save_to_json(str(written / name / "trainer_state.json"))
    # One left by a run that was resumed from an earlier step.
    _delete(run_dir / name, staging)
    os.replace(written / name, run_dir / name)
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
