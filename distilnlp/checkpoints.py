"""Model folders and checkpoints that are complete or absent, whenever the process is killed."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from transformers import TrainerState, TrainingArguments
from transformers.trainer_utils import rotate_checkpoints

from distilnlp.attachment import Attachment

__all__ = ["STAGING", "hidden", "publish", "remove_incomplete", "staged_files"]

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
    shutil.rmtree(run_dir / name, ignore_errors=True)  # left by a run that was resumed from an earlier one
    os.replace(staging / name, run_dir / name)
    staging.rmdir()
    rotate_checkpoints(
        output_dir=str(run_dir),
        save_total_limit=args.save_total_limit,
        best_model_checkpoint=state.best_model_checkpoint,
        use_mtime=False,
    )
