"""Before step 0: the teacher shows what it counts as which label, and its answers are kept on disk where that pays."""

import itertools
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import datasets
from accelerate.utils import send_to_device
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import TrainingArguments

from distilnlp.data.nested import flat_dataset
from distilnlp.errors import RequestError
from distilnlp.losses.alignment import at_students_tokens
from distilnlp.outputs import Outputs
from distilnlp.part import Part
from distilnlp.problems import IGNORED, TEACHER_ALIGNMENT
from distilnlp.teachers import Cacheable, CachedTeacher, CacheSettings, EnsembleTeacher, Teacher
from distilnlp.teachers.cached import Autocast, Collate, cache_answers
from distilnlp.teachers.ensemble import answering
from distilnlp.training.compatibility import CONFIRM_BATCHES, confirm_label_order

__all__ = ["confirm_labels", "drop_own_cache", "keep_answers"]


def confirm_labels(
    teacher: Teacher,
    data: Callable[[], Any],
    collate: Collate,
    args: TrainingArguments,
    label_names: tuple[str, ...] | None,
    answers: Callable[[Teacher, Mapping[str, Tensor]], Outputs],
) -> None:
    """Let a teacher whose labels have no names show that it counts them as we do.

    Args:
        teacher: prepared. One that follows the training has nothing to show before it.
        data: gives the training data, without what no model reads.
        collate: makes a batch of its rows.
        args: of the training.
        label_names: as we count them; None where nobody tells.
        answers: asks a teacher about a batch.
    Raises:
        RequestError: as `confirm_label_order`.
    """
    if isinstance(teacher, EnsembleTeacher):
        for member in answering(teacher, teacher.needs).values():
            confirm_labels(member, data, collate, args, label_names, answers)
        return
    named = teacher.label_names is not None or teacher.info.num_logits == 1
    if named or label_names is None or isinstance(teacher, Part):
        return
    loader = DataLoader(data(), batch_size=args.train_batch_size, collate_fn=collate)
    batches = (send_to_device(batch, args.device) for batch in itertools.islice(loader, CONFIRM_BATCHES))
    shown = (_shown(answers(teacher, batch).get_logits(), batch) for batch in batches if "labels" in batch)
    confirm_label_order(shown, label_names, teacher.info.problem)


def _shown(logits: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The answers to a batch and its labels; of a head by token one of each for every token that has a label."""
    labels = batch["labels"]
    if logits.ndim == 3:
        known = labels != IGNORED
        if TEACHER_ALIGNMENT in batch:
            logits, read = at_students_tokens(logits, batch)
            known = known & read
        logits, labels = logits[known], labels[known]
    return logits.cpu(), labels.cpu()


def keep_answers(
    teacher: Teacher | None,
    data: Any,
    columns: list[str],
    collate: Collate,
    settings: CacheSettings,
    args: TrainingArguments,
    *,
    passes: float,
    autocast: Autocast,
) -> CachedTeacher | None:
    """The teacher with its answers on disk, where that is wished for and possible.

    Args:
        teacher: prepared.
        data: the training data.
        columns: those that any model reads.
        collate: makes a batch of its rows.
        settings: whether, and in which folder; by default one in ``args.output_dir``.
        args: of the training.
        passes: how often the teacher would answer every example.
        autocast: the context of the student's training.
    Raises:
        RequestError: ``use: always`` for a teacher that may change, or a stream; or as `cache_answers`.
    """
    if isinstance(teacher, Cacheable) and isinstance(data, datasets.Dataset) and "input_ids" in data.features:
        read = columns if args.remove_unused_columns else data.column_names
        return cache_answers(
            teacher,
            flat_dataset(data.select_columns([name for name in data.column_names if name in read])),
            collate,
            settings=settings,
            folder=Path(settings.folder) if settings.folder else _own_cache(args),
            passes=passes,
            autocast=autocast,
        )
    if teacher is not None and settings.use == "always":
        raise RequestError(
            "cache.use=always needs a teacher that never changes and a tokenised data set (no stream): use auto or "
            "never"
        )
    return None


def drop_own_cache(args: TrainingArguments) -> None:
    """Remove the answers of a training that has finished; a folder that was named is kept."""
    if args.should_save:
        shutil.rmtree(_own_cache(args), ignore_errors=True)


def _own_cache(args: TrainingArguments) -> Path:
    return Path(args.output_dir or ".") / "teacher-cache"
