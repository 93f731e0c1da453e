"""Lets models answer the texts of a data set part by part, in one process or in several; a break loses one part."""

import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from numpy.typing import NDArray
from torch.multiprocessing.spawn import ProcessContext, ProcessExitedException, ProcessRaisedException, spawn

from distilnlp.errors import RequestError, RunError
from distilnlp.models.predictor import Predictor, Text
from distilnlp.problems import Problem, get_problem
from distilnlp.run.evaluation import texts_of
from distilnlp.run.zero_shot import Hypotheses, ZeroShot
from distilnlp.whole_files import whole_file

__all__ = ["PART_ROWS", "Answerer", "Answering", "Models", "load_models"]

Answerer = Predictor | ZeroShot

PART_ROWS = 256  # texts that are answered before what they got is kept
LOOK = 0.2  # seconds between two looks at what the processes have done
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Models:
    """The models whose answers are asked for, and how.

    Args:
        names: folders or Hub ids.
        problem: the name of their kind of task.
        orders: the places of each model's labels in the order that is written.
        values: ``probabilities`` or ``logits``.
        max_length, batch_size: as for `Predictor`.
        asked: what kind of task they are asked about; None: their own.
        hypotheses: where the models are for entailment and are asked about labels; else None.
    """

    names: tuple[str, ...]
    problem: str
    orders: tuple[tuple[int, ...], ...]
    values: str
    max_length: int | None
    batch_size: int
    asked: Problem | None = None
    hypotheses: Hypotheses | None = None

    def load(self) -> list[Answerer]:
        """All of them."""
        return load_models(self.names, self.max_length, self.batch_size, self.asked, self.hypotheses)


def load_models(
    names: Sequence[str],
    max_length: int | None,
    batch_size: int,
    asked: Problem | None = None,
    hypotheses: Hypotheses | None = None,
) -> list[Answerer]:
    """Models that answer texts, each as `Models` says."""
    settings: dict[str, Any] = {"max_length": max_length, "batch_size": batch_size, "problem": asked}
    loaded = [Predictor.load(name, **settings) for name in names]
    if hypotheses is None:
        return [*loaded]
    return [ZeroShot(each, hypotheses, name) for name, each in zip(names, loaded, strict=True)]


@dataclass(frozen=True)
class Answering:
    """The texts of a data set, cut into parts, each of which gets a file with its answers.

    Args:
        data: the texts.
        models: that answer.
        folder: of the files.
        part_rows: texts of a part.
        unit: what a row of the data is, for the user.
    """

    data: Dataset
    models: Models
    folder: Path
    part_rows: int = PART_ROWS
    unit: str = "texts"

    @property
    def parts(self) -> list[Path]:
        """The files, in the order of the texts."""
        return [self.folder / f"{start}.npy" for start in range(0, len(self.data), self.part_rows)]

    def run(self, predictors: list[Answerer], processes: int, say: Callable[[str], object]) -> None:
        """Answer what has no answer yet.

        A part is answered alike in whichever process, so that their number changes nothing in the files.

        Args:
            predictors: the models, loaded; they are let go where other processes load their own.
            processes: that answer, each with its share of the threads; 1 is this one.
            say: shows one line to the user.
        Raises:
            RequestError, RunError: as `Predictor.answered`, of any process; RunError: a process was ended.
        """
        missing = [number for number, part in enumerate(self.parts) if not part.is_file()]
        count = min(processes, len(missing))
        if count < 2:
            for number in missing:
                self.answer(number, predictors)
                self._tell(say)
            return
        predictors.clear()
        threads = max(1, torch.get_num_threads() // count)
        context = spawn(_answer_some, (self, missing, count, threads), nprocs=count, join=False)
        try:
            self._wait(context, say)
        finally:
            for process in context.processes:
                if process.is_alive():
                    process.terminate()
                process.join()

    def answer(self, number: int, predictors: Sequence[Answerer]) -> None:
        """Write the answers of one part, whole or not at all."""
        start = number * self.part_rows
        some = self.data.select(range(start, min(start + self.part_rows, len(self.data))))
        orders, problem = self.models.orders, get_problem(self.models.problem)
        answers = _mean_answers(texts_of(some), predictors, orders, problem, self.models.values)
        with whole_file(self.parts[number]) as temporary, temporary.open("wb") as file:
            np.save(file, answers)

    def read(self) -> Iterator[Floats]:
        """The answers of each part, ``(texts, labels)``, or ``(words, labels)`` of models that answer by word."""
        return (np.load(part) for part in self.parts)

    def _wait(self, context: ProcessContext, say: Callable[[str], object]) -> None:
        told = -1
        try:
            ended = False
            while not ended:
                ended = context.join(timeout=LOOK)
                done = sum(part.is_file() for part in self.parts)
                if done != told:
                    told = self._tell(say)
        except ProcessRaisedException as error:
            last = str(error).strip().splitlines()[-1]
            kind, _, reason = last.partition(": ")
            if kind.endswith(f".{RequestError.__name__}"):
                raise RequestError(reason) from error
            known = kind.endswith(f".{RunError.__name__}")
            raise RunError(f"{reason if known else last} ({self._kept()})") from error
        except ProcessExitedException as error:
            raise RunError(
                f"a process that answers texts was ended ({error}), for want of memory perhaps: give fewer processes"
                f" ({self._kept()})"
            ) from error
        if told < len(self.parts):
            raise RunError(f"the processes that answer texts were ended ({self._kept()})")

    def _tell(self, say: Callable[[str], object]) -> int:
        """Say how far it has come; how many parts are there."""
        sizes = [min(self.part_rows, len(self.data) - number * self.part_rows) for number in range(len(self.parts))]
        there = [part.is_file() for part in self.parts]
        done = sum(size for size, is_there in zip(sizes, there, strict=True) if is_there)
        say(f"{done} of {len(self.data)} {self.unit} ({100 * done // len(self.data)} %)")
        return sum(there)

    def _kept(self) -> str:
        return "what is answered is kept: the same command goes on"


def _answer_some(rank: int, answering: Answering, missing: Sequence[int], count: int, threads: int) -> None:
    """What one of ``count`` processes does: each takes every so-many-th part. It ends with the one that started it."""
    # It is told by this signal that the command was killed, which whoever starts one in the background lets it ignore.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    torch.set_num_threads(threads)
    predictors = answering.models.load()
    for number in missing[rank::count]:
        answering.answer(number, predictors)


def _mean_answers(
    texts: Sequence[Text],
    predictors: Sequence[Answerer],
    orders: Sequence[Sequence[int]],
    problem: Problem,
    values: str,
) -> Floats:
    """The mean of the models' answers."""
    total = np.zeros(())
    for predictor, order in zip(predictors, orders, strict=True):
        logits = predictor.logits(texts).astype(np.float64)[:, list(order)]
        total = total + (logits if values == "logits" else problem.probabilities_of(logits))
    return total / len(predictors)
