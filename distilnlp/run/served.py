"""A model as it would be served: its files, how large they are, and how fast one thread answers a text with them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.data.task import Task
from distilnlp.export.graph import tidied, trace, write
from distilnlp.export.quantise import processor_of, quantised
from distilnlp.models.backend import TorchBackend
from distilnlp.models.chosen_tokens import HEAD_TOKENS
from distilnlp.models.predictor import Predictor, Text
from distilnlp.onnx_file import FOLDER, QUANTISED
from distilnlp.report.cost import disk_mb, time_in_turns
from distilnlp.report.predictions import Predictions
from distilnlp.run.environment import cpu_flags
from distilnlp.run.evaluation import measured, predictor_for
from distilnlp.run.export import write_beside

__all__ = ["Served", "cost_of", "one_thread", "score_served", "size_and_speed", "timed"]


@dataclass(frozen=True)
class Served:
    """What a model costs to serve.

    Args:
        ms: a text by itself, on one thread of the processor; the time that it works, shortest of many turns, the mean
            over held-out texts.
        mb: its weights, in files of so many MB (1e6 bytes).
        teacher_ms: of the teacher, in PyTorch and float32, timed in turns with it.
        spread: the least and greatest speedup that a third of the turns by itself tells.
    """

    ms: float
    mb: float
    teacher_ms: float
    spread: tuple[float, float]

    @property
    def speedup(self) -> float:
        """How many times as fast as its teacher."""
        return self.teacher_ms / self.ms

    def at_best(self, before: "Served") -> "Served":
        """Of files that were timed before too: of student and teacher what is shorter, and the spread of this time."""
        return replace(self, ms=min(self.ms, before.ms)).beside(min(self.teacher_ms, before.teacher_ms))

    def beside(self, teacher_ms: float) -> "Served":
        """Beside another time of the teacher, by which the spread changes as the speedup does."""
        least, greatest = (each * teacher_ms / self.teacher_ms for each in self.spread)
        return replace(self, teacher_ms=teacher_ms, spread=(least, greatest))

    def words(self) -> str:
        """Time, speedup and size in a few words."""
        return f"{self.ms:.2f} ms ({self.speedup:.1f}x), {self.mb:.1f} MB"


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch, and the sessions that are made meanwhile, use one thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def timed(name: str | Path, max_length: int | None) -> Predictor:
    """A model in float32 or of an exported folder, on the processor."""
    return Predictor.load(name, max_length=max_length, device=torch.device("cpu"))


def size_and_speed(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    int8: bool,
    teacher: Predictor,
    texts: Sequence[Text],
    seconds: float = 3.0,
) -> Served:
    """Write a model as it would be served, load that, and time it; whatever its weights are.

    Args:
        model: on the CPU, in float32.
        tokenizer: its own.
        int8: as an ONNX file in 8 bits; else in PyTorch.
        teacher: on the CPU; texts are cut to its ``max_length``.
        texts: held-out ones.
        seconds: for which the two are timed.
    Raises:
        RequestError: it cannot be exported.
    """
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        file = _write(model, tokenizer, folder, int8=int8, max_length=teacher.max_length, texts=texts)
        return cost_of(folder, disk_mb(file), teacher=teacher, texts=texts, seconds=seconds)


def cost_of(
    name: Path, megabytes: float, *, teacher: Predictor, texts: Sequence[Text], seconds: float = 3.0
) -> Served:
    """Time a model in turns with its teacher, each on one thread.

    Args:
        name: its folder, or a file of an exported one.
        megabytes: of its weights.
        teacher, texts, seconds: as for `size_and_speed`.
    """
    with one_thread():
        turns = time_in_turns({"teacher": teacher, "student": timed(name, teacher.max_length)}, texts, seconds=seconds)
    ms, teacher_ms = (1000 * turns.best(each) for each in ("student", "teacher"))
    return Served(ms, megabytes, teacher_ms, turns.spread("student", "teacher"))


def score_served(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    *,
    max_length: int | None,
    texts: list[Text],
) -> tuple[Predictions, float]:
    """What the int8 file of a trained model answers to the held-out examples of a task, and its score.

    Every layer is in 8 bits.
    """
    with TemporaryDirectory() as scratch:
        _write(model, tokenizer, Path(scratch), int8=True, max_length=max_length, texts=texts)
        predictor, task = predictor_for(scratch, task, max_length=max_length)
        if task.validation is None:
            raise ValueError("a search has held-out examples")
        predictions, scores = measured(predictor, task, task.validation)
        return predictions, float(scores[task.main_metric])


def _write(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    int8: bool,
    max_length: int | None,
    texts: Sequence[Text],
) -> Path:
    """Write a model's folder; where its weights are: the folder, or the file that all of them are in."""
    write_beside(model, folder, keep_weights=not int8)
    tokenizer.save_pretrained(str(folder))
    if not int8:
        return folder
    source = Predictor(TorchBackend(model, torch.device("cpu")), tokenizer, max_length=max_length)
    ordered = sorted(texts, key=lambda text: len(str(text)))
    inputs = source.encode([ordered[0], ordered[-1]])
    with source.backend.evaluating():
        graph = trace(model, {name: each for name, each in inputs.items() if name != HEAD_TOKENS})
    (folder / FOLDER).mkdir()
    write(tidied(quantised(graph, processor=processor_of(cpu_flags()))), folder / FOLDER / QUANTISED)
    return folder / FOLDER / QUANTISED
