"""A teacher that answers every example once, and whose answers are read from disk from then on."""

import fcntl
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import psutil
import torch
import transformers
from accelerate import PartialState
from accelerate.utils import gather_object
from datasets import Dataset
from torch import Tensor
from torch.utils.data import get_worker_info

from distilnlp.errors import RequestError, unknown
from distilnlp.outputs import Needs, Outputs
from distilnlp.progress import doing
from distilnlp.teachers.base import Cacheable
from distilnlp.teachers.layout import Layout, Rows, layout_of
from distilnlp.teachers.store import Store

__all__ = ["CacheSettings", "CachedTeacher", "cache_answers"]

logger = logging.getLogger(__name__)

Use = Literal["auto", "always", "never"]
Dtype = Literal["teacher", "float32", "bfloat16", "float16"]
Collate = Callable[[list[Any]], Mapping[str, Any]]
Inputs = Callable[[list[Any]], list[Any]]
MaskOf = Callable[[Mapping[str, Any]], Tensor]
Autocast = Callable[[], AbstractContextManager[Any]]
Phase = Callable[[str], AbstractContextManager[Any]]

FORMAT = 3  # of what is stored; another number makes every older cache unknown
ANSWERS = "teacher_answers"  # their name in a batch
GIB = 2**30
# On an accelerator a pass of the teacher takes milliseconds, and so does moving its hidden states there.
SMALL = 2**16


@dataclass(frozen=True)
class CacheSettings:
    """Whether and where a teacher's answers are kept on disk.

    Args:
        use: ``auto`` keeps them when that pays: every example is seen more than once, they take at most ``max_gib``,
            80 % of the free disk and half of the free memory (which serves the disk's pages), and, on an accelerator,
            at most 64 KiB an example. ``always``, ``never``.
        folder: where; default: a folder in the trainer's ``output_dir``, removed when the training has finished. A
            folder that is named is kept, and serves every later training with the same teacher, texts and needs.
        max_gib: GiB on disk, at most.
        dtype: ``teacher`` keeps every number as the teacher gave it; ``float16`` and ``bfloat16`` halve what fp32
            takes, and round.
        trainings: how many trainings read them in a folder that is named, each of which sees the examples.
    Raises:
        RequestError: an unknown word; ``max_gib`` or ``trainings`` not positive.
    """

    use: Use = "auto"
    folder: str | None = None
    max_gib: float = 8.0
    dtype: Dtype = "teacher"
    trainings: int = 1

    def __post_init__(self) -> None:
        for key, value, accepted in (("use", self.use, get_args(Use)), ("dtype", self.dtype, get_args(Dtype))):
            if value not in accepted:
                raise unknown(f"value of cache.{key}:", str(value), accepted)
        if not self.max_gib > 0:
            raise RequestError(f"cache.max_gib must be above 0; got {self.max_gib}")
        if self.trainings < 1:
            raise RequestError(f"cache.trainings must be at least 1; got {self.trainings}")


class CachedTeacher:
    """A `Teacher` whose answers to known examples are read; new ones the live teacher answers.

    Its `collator` puts the answers into each batch, where a data loader's workers read them while the student learns.

    Args:
        live: the teacher itself.
        store: its answers.
    """

    def __init__(self, live: Cacheable, store: Store) -> None:
        self.live = live
        self.store = store
        self.mask: MaskOf = _own_mask
        self.info, self.tokenizer, self.columns = live.info, live.tokenizer, live.columns
        self.label_names = live.label_names
        self._told = False

    def prepare(self, where: torch.device, needs: Needs) -> None:
        """As the live teacher's."""
        self.live.prepare(where, needs)

    def release(self) -> None:
        """As the live teacher's."""
        self.live.release()

    def reorder_labels(self, order: tuple[int, ...]) -> None:
        """The stored answers have an order already. Raises RuntimeError."""
        raise RuntimeError("reorder the labels of the live teacher before its answers are stored")

    def collator(
        self,
        collate: Collate,
        inputs: Inputs = list,
        mask: "MaskOf | None" = None,
        *,
        reading: Phase = nullcontext,
    ) -> "_AnsweringCollator":
        """``collate``, and the answers to the batch beside it.

        Args:
            inputs: what makes the rows of the answered data set of examples that have several each.
            mask: what finds the attention mask of the answered inputs in a batch, where it is not the student's.
            reading: entered as ``teacher`` while answers are read, unless a data loader's worker reads them.
        """
        self.mask = mask or _own_mask
        return _AnsweringCollator(collate, self.store, inputs, self.mask, reading)

    def __call__(self, batch: Mapping[str, Any]) -> Outputs:
        """The stored answers where the batch has them, else those of the live teacher."""
        if ANSWERS in batch:
            return self.store.outputs(batch[ANSWERS], self.mask(batch))
        if not self._told:
            logger.info("some texts are new: the teacher answers their batches itself")
            self._told = True
        return self.live(batch)


def _own_mask(batch: Mapping[str, Any]) -> Tensor:
    mask: Tensor = batch["attention_mask"]
    return mask


@dataclass(frozen=True)
class _AnsweringCollator:
    """A class, not a closure: workers that are spawned have to pickle it."""

    collate: Collate
    store: Store
    inputs: Inputs
    mask: MaskOf
    reading: Phase = nullcontext

    def __call__(self, features: list[Mapping[str, Any]]) -> dict[str, Any]:
        batch = dict(self.collate(features))
        if "attention_mask" not in batch:
            return batch
        # A worker reads beside the training, and has none of its clock.
        with self.reading("teacher") if get_worker_info() is None else nullcontext():
            return self._answered(batch, features)

    def _answered(self, batch: dict[str, Any], features: list[Mapping[str, Any]]) -> dict[str, Any]:
        mask, places = self.mask(batch), self.store.find(self.inputs(features))
        if places is None or mask.shape[1] > self._longest():
            return batch
        return {**batch, ANSWERS: self.store.read(places, mask)}

    def _longest(self) -> int:
        """Batches longer than any example (padded to a multiple, say) have no local windows stored."""
        return int(self.store.rows.lengths[-1]) if self.store.layout.allowed else 2**31


def cache_answers(
    teacher: Cacheable,
    dataset: Dataset,
    collate: Collate,
    *,
    settings: CacheSettings,
    folder: Path,
    passes: float,
    autocast: Autocast,
) -> CachedTeacher | None:
    """Let a teacher answer every example of a data set, unless it has before, and keep the answers on disk.

    Every process calls it, and in each it answers a part. A run that was killed goes on where it was, and what is not
    as it was written is answered again. The answers are
    known by the teacher's weights and config, the order of its labels, the token ids (and so by tokenizer, texts and
    truncation), what the objective needs, precision and versions: a change of any is another cache.

    Args:
        teacher: prepared.
        dataset: tokenised.
        collate: makes a batch of its rows.
        settings: whether, how large and in which dtype.
        folder: the cache's folder gets a subfolder there.
        passes: how often the training sees every example.
        autocast: the context of the student's training.
    Returns:
        None where the live teacher shall answer; the reason is logged.
    Raises:
        RequestError: ``use: always`` and the answers do not fit, or the folder is not one that all processes see.
    """
    if settings.use == "never" or (settings.use == "auto" and passes * settings.trainings <= 1):
        return None
    fingerprint = teacher.fingerprint()
    if fingerprint is None:
        said = f"the answers of {teacher.info.name} are not kept: they change, or are more than logits"
        if settings.use == "always":
            raise RequestError(f"cache.use=always, and {said}: use auto or never")
        _say(said)
        return None
    names = sorted(teacher.columns & set(dataset.column_names) - {"attention_mask", "labels"})
    if teacher.needs.input_gradients:  # of the label's logit
        names.append("labels")
    # input_ids first: the others may be missing, and its rows tell the number of examples.
    rows = Rows(dataset, sorted(names, key=lambda name: name != "input_ids"))
    store = Store(folder / _key(teacher, fingerprint, rows, settings, autocast), rows)
    _mend(store)
    if not store.complete:
        longest = _answers_to(teacher, dataset, collate, rows, slice(len(rows.source) - 1, None), autocast)
        layout = layout_of(*longest, None if settings.dtype == "teacher" else getattr(torch, settings.dtype))
        if not _fits(store, layout.bytes(rows), teacher.device, settings):
            return None
        if not _fill(store, layout, teacher, dataset, collate, autocast, settings):
            return None
    else:
        _say(f"the teacher's answers are read from {store.folder}")
    return CachedTeacher(teacher, store)


def _key(teacher: Cacheable, fingerprint: str, rows: Rows, settings: CacheSettings, autocast: Autocast) -> str:
    """Everything that the answers depend on."""
    kind = teacher.device.type
    with autocast():
        precision = str(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else "as the model"
    needs = teacher.needs
    parts = {
        "format": FORMAT,
        "teacher": fingerprint,
        "needs": [
            needs.logits,
            needs.input_gradients,
            *(sorted(part) for part in (needs.hidden_states, needs.attention, needs.values)),
        ],
        "precision": [settings.dtype, precision, kind],
        "versions": [torch.__version__, transformers.__version__],
        "columns": rows.columns,
    }
    hashed = hashlib.sha256(json.dumps(parts, sort_keys=True).encode())
    hashed.update(rows.digests.tobytes())
    return hashed.hexdigest()[:24]


def _answers_to(
    teacher: Cacheable,
    dataset: Dataset,
    collate: Collate,
    rows: Rows,
    part: slice,
    autocast: Autocast,
) -> tuple[Outputs, Tensor]:
    """The answers to some examples, and their mask as bool ``(batch, tokens)``."""
    table = dataset[rows.source[part].tolist()]
    features = [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
    batch = collate(features)
    batch = {name: tensor.to(teacher.device) for name, tensor in batch.items() if isinstance(tensor, Tensor)}
    batch.setdefault("attention_mask", torch.ones_like(batch["input_ids"]))
    with autocast():
        return teacher(batch), batch["attention_mask"].bool()


def _fits(store: Store, size: int, device: torch.device, settings: CacheSettings) -> bool:
    """Whether the answers are to be kept; says so when not."""
    folder = store.folder.absolute()
    free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
    limits = {"cache.max_gib": settings.max_gib * GIB}
    if not store.begun:  # else the disk holds their files already
        limits["80 % of the free disk"] = 0.8 * free
    if settings.use == "auto":
        limits["half of the free memory"] = psutil.virtual_memory().available / 2
        if device.type != "cpu":
            limits[f"64 KiB an example on {device.type}"] = SMALL * len(store.rows.source)
    for name, limit in limits.items():
        if size <= limit:
            continue
        said = f"the teacher's answers would take {_shown(size)}, and {name} is {_shown(limit)}"
        if settings.use == "always":
            raise RequestError(f"{said}: raise it, halve them with cache.dtype=float16, or use cache.use=auto")
        _say(f"{said}: the teacher answers every batch itself")
        return False
    return True


def _fill(
    store: Store,
    layout: Layout,
    teacher: Cacheable,
    dataset: Dataset,
    collate: Collate,
    autocast: Autocast,
    settings: CacheSettings,
) -> bool:
    """In every process it answers a share of what is missing; False when the answers have no place, which is said."""
    state = PartialState()
    started, examples, size = time.monotonic(), len(store.rows.source), layout.bytes(store.rows)
    with _only_one(store.folder) if state.is_main_process else nullcontext():
        problem = _create(store, layout) if state.is_main_process else None
        state.wait_for_everyone()
        if problem is None and not store.begun:
            problem = f"{store.folder} is not there for every process: name a folder that all of them share"
        problem = next(filter(None, gather_object([problem])), None)
        if problem is not None and settings.use == "always":
            raise RequestError(f"the teacher's answers cannot be kept: {problem}")
        if problem is not None:
            _say(f"the teacher answers every batch itself: {problem}")
            return False
        _say(
            f"keeping the teacher's answers to {examples} examples: {_shown(size)}, {_shown(size / examples)} an "
            f"example, in {store.folder}"
        )
        mine = store.missing()[state.process_index :: state.num_processes]
        with doing(f"the teacher answers {examples} examples", len(mine)) as advance:
            for chunk in mine:
                part = store.rows.chunks[chunk]
                store.write(chunk, *_answers_to(teacher, dataset, collate, store.rows, part, autocast))
                advance(1)
        store.finish()
        state.wait_for_everyone()
        if state.is_main_process:
            store.mark_complete()
        state.wait_for_everyone()
    _say(f"kept after {time.monotonic() - started:.0f} s")
    return True


def _mend(store: Store) -> None:
    """Let what is damaged on the disk be answered again."""
    state = PartialState()
    if state.is_main_process and store.folder.is_dir():
        with _only_one(store.folder):
            flaw = store.mend()
        if flaw is not None:
            logger.warning(f"of the kept answers in {store.folder} {flaw}: the teacher gives them again")
    state.wait_for_everyone()


def _create(store: Store, layout: Layout) -> str | None:
    """Make the store's files; what kept them from being made."""
    try:
        store.create(layout)
    except OSError as error:
        return str(error)
    return None


def _shown(size: float) -> str:
    """A number of bytes in the unit that fits."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.3g} {unit}"
        size /= 1024
    return f"{size:.2f} GiB"


def _say(message: str) -> None:
    if PartialState().is_main_process:
        logger.info(message)


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Hold the folder: another run that wants the same answers waits until they are there."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.parent / f".{folder.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel lets go of it even after kill -9
        yield
