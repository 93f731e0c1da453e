"""Model folders and checkpoints that are complete or absent, and which of them a training can go on from."""

import errno
import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import sort_checkpoints

from distilnlp.checksums import flaw, listed, write_checksums
from distilnlp.errors import RequestError, RunError

__all__ = [
    "STAGING",
    "SaveAtSteps",
    "SaveWhenTheEpochIsOver",
    "best_before",
    "check_best",
    "checkpoint_flaw",
    "full_disk_is_named",
    "remove_incomplete",
    "staged_checkpoint",
    "staged_files",
    "to_resume",
    "whole_checkpoint",
]

logger = logging.getLogger(__name__)

STAGING = ".incomplete"
# What a training goes on with, besides the weights and the states of its parts.
_NEEDED = ("trainer_state.json", "optimizer.pt", "scheduler.pt")


class SaveAtSteps(TrainerCallback):
    """Has checkpoints written at given steps, whatever ``save_steps`` says.

    Args:
        steps: after which.
    Raises:
        RequestError: they are no whole numbers above 0.
    """

    def __init__(self, steps: Collection[int]) -> None:
        if not isinstance(steps, Collection) or not all(type(step) is int and step > 0 for step in steps):
            raise RequestError(f"keep_checkpoints is {steps!r}: steps are needed, whole numbers above 0")
        self.steps = frozenset(steps)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.global_step in self.steps:
            control.should_save = True


class SaveWhenTheEpochIsOver(TrainerCallback):
    """Puts the checkpoint of an epoch's last step off until the epoch is over.

    A training that is resumed there begins with the next epoch. What Trainer does between the two, the evaluation
    above all (it draws random numbers, and a learning rate may follow its result), would be left out.
    """

    def __init__(self) -> None:
        self.due = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.due = False

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Hold the checkpoint back where Trainer leaves the epoch after this step."""
        ends = control.should_epoch_stop or control.should_training_stop or float(state.epoch or 0.5).is_integer()
        if ends and control.should_save:
            control.should_save, self.due = False, True

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Trainer evaluates next, and then saves."""
        control.should_save |= self.due
        self.due = False


def checkpoint_flaw(checkpoint: Path, processes: int) -> str | None:
    """Why a training would not go on from a checkpoint as if nothing had happened; None where it would.

    Args:
        checkpoint: its folder, as `DistillationTrainer` wrote it.
        processes: of the training.
    Returns:
        "lacks optimizer.pt", "has a damaged model.safetensors".
    """
    random = ["rng_state.pth"] if processes == 1 else [f"rng_state_{rank}.pth" for rank in range(processes)]
    files = listed(checkpoint)
    if files is not None:
        lacking = [name for name in (*_NEEDED, *random) if name not in files]
        if lacking:
            return f"lacks {', '.join(lacking)}"
    return flaw(checkpoint)


def whole_checkpoint(run_dir: Path, processes: int = 1) -> tuple[Path | None, list[str]]:
    """The last checkpoint that a training can go on from, and what is wrong with those after it.

    Args:
        run_dir: where they are.
        processes: of the training.
    Returns:
        None where there is none; and for each later one a text such as "checkpoint-8 lacks optimizer.pt".
    """
    flaws: list[str] = []
    for checkpoint in map(Path, reversed(sort_checkpoints(str(run_dir)))):
        found = checkpoint_flaw(checkpoint, processes)
        if found is None:
            return checkpoint, flaws
        flaws.append(f"{checkpoint.name} {found}")
    return None, flaws


def to_resume(wanted: str | bool, run_dir: Path, processes: int = 1) -> Path:
    """The checkpoint that a training is to go on from.

    Args:
        wanted: its folder; True: the last one in ``run_dir`` that is whole.
        run_dir: where the checkpoints of the training are.
        processes: of the training.
    Raises:
        RequestError: there is none, or a training that went on from it would end with other weights.
    """
    if isinstance(wanted, bool):
        checkpoint, flaws = whole_checkpoint(run_dir, processes)
        if checkpoint is None:
            said = "; ".join(flaws) or "there is none"
            raise RequestError(f"no checkpoint in {run_dir} can be resumed ({said}): leave resume_from_checkpoint out")
        for found in flaws:
            logger.warning(f"{found}: going on from {checkpoint.name}")
        return checkpoint
    flaw_of_it = checkpoint_flaw(Path(wanted), processes)
    if flaw_of_it is not None:
        raise RequestError(
            f"the checkpoint {Path(wanted)} {flaw_of_it}, so that a training that went on from it would end "
            "with other weights: give an earlier checkpoint, or leave resume_from_checkpoint out"
        )
    return Path(wanted)


def remove_incomplete(run_dir: Path) -> None:
    """Delete what a killed run left half-written."""
    shutil.rmtree(run_dir / STAGING, ignore_errors=True)


def best_before(checkpoint: Path) -> str | None:
    """The best checkpoint when another was written, which stands beside it even if both were moved.

    Trainer would look for it where it was, and without it take the last weights for the best.

    Raises:
        RunError: it is not there or damaged.
    """
    noted = TrainerState.load_from_json(str(checkpoint / "trainer_state.json")).best_model_checkpoint
    if noted is None:
        return None
    best = checkpoint.parent / Path(noted).name
    check_best(best)
    return str(best)


def check_best(checkpoint: Path) -> None:
    """Raise RunError where the best checkpoint, whose weights are to be taken, is not as it was written."""
    found = flaw(checkpoint) if checkpoint.is_dir() else "is missing"
    if found is not None:
        raise RunError(
            f"the best checkpoint {checkpoint} {found}, and load_best_model_at_end needs its weights: delete "
            f"{checkpoint.parent}/checkpoint-* and train anew"
        )


@contextmanager
def staged_files(target: Path, writes: bool) -> Iterator[Path]:
    """A folder to write into; afterwards its files stand in ``target``, and before that none of them.

    A new folder appears in one rename. Into a folder that is there, or that another process makes meanwhile, each file
    is renamed, the weights last, since without them no one takes it for a model.

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
        # Asking first whether it is there would not do: the other processes of a training make it for their own files.
        try:
            os.replace(staging, target)
            return
        except OSError:
            if not target.is_dir():
                raise
        files = [path for path in staging.rglob("*") if path.is_file()]  # a sentence encoder has folders too
        for file in sorted(files, key=lambda path: path.suffix == ".safetensors"):
            place = target / file.relative_to(staging)
            place.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, place)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


@contextmanager
def staged_checkpoint(
    state: TrainerState,
    args: TrainingArguments,
    run_dir: Path,
    wait_for_everyone: Callable[[], object],
    kept: Collection[int] = (),
) -> Iterator[None]:
    """The checkpoint that is written meanwhile appears in ``run_dir`` in one rename when it is whole, or never.

    It is written where ``args.output_dir`` says, which is another folder as long as this lasts. Every process calls
    it.

    Args:
        state, args: of the training.
        run_dir: where its checkpoints belong: ``args.output_dir``, or a folder in there for a trial of a search.
        wait_for_everyone: returns when every process has called it.
        kept: the steps of checkpoints that stay, whatever ``save_total_limit`` is.
    Raises:
        RunError: the disk is full; what was written is removed.
    """
    staging, place = run_dir / STAGING, args.output_dir
    written = staging / run_dir.relative_to(Path(place or "."))
    args.output_dir = str(staging)
    try:
        with full_disk_is_named(run_dir):
            yield
    except BaseException:
        remove_incomplete(run_dir)  # a full disk has better uses for the space
        raise
    finally:
        args.output_dir = place
    wait_for_everyone()
    with full_disk_is_named(run_dir):
        _publish(state, args, written, run_dir, kept)
    wait_for_everyone()


def _publish(
    state: TrainerState, args: TrainingArguments, written: Path, run_dir: Path, kept: Collection[int]
) -> None:
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
    write_checksums(written / name, sorted(path.name for path in (written / name).iterdir() if path.is_file()))
    # One left by a run that was resumed from an earlier step.
    _delete(run_dir / name, staging)
    os.replace(written / name, run_dir / name)
    for checkpoint in _superfluous(run_dir, name, args.save_total_limit, state.best_model_checkpoint, kept):
        _delete(checkpoint, staging)
    shutil.rmtree(staging)


def _superfluous(
    run_dir: Path, last: str, limit: int | None, best: str | None, kept: Collection[int] = ()
) -> list[Path]:
    """The oldest checkpoints above the limit; the best one and the one just written stay in any case.

    Those of the ``kept`` steps stay too, and are not counted.

    That is not the one of the highest step where the training went on from an earlier one than the last.
    """
    named = {run_dir / f"checkpoint-{step}" for step in kept} - {run_dir / last}
    found = [path for path in map(Path, sort_checkpoints(str(run_dir))) if path not in named]
    if limit is None or limit <= 0:
        return []
    stay = {run_dir / last, Path(best or run_dir / last)}
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
