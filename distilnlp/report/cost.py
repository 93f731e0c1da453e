"""What a model costs to keep and to run: parameters, disk, latency and throughput."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from distilnlp.errors import RequestError
from distilnlp.exported_file import files_of
from distilnlp.report.schema import Cost
from distilnlp.report.timing import Turns, take_turns

if TYPE_CHECKING:
    from torch import Tensor

    from distilnlp.models.backend import Backend
    from distilnlp.models.predictor import Predictor, Text

__all__ = ["BATCH", "disk_mb", "measure_cost", "measure_costs", "time_in_turns"]

BATCH = 32
LATENCY_RUNS = (30, 100)  # at least, at most
THROUGHPUT_RUNS = (3, 10)
PATIENCE = 4  # so many times the budget, and not even the least number of runs is waited for
WARM_UP = 3
TURN_TEXTS = 12
TURN_ROUNDS = (12, 120)


def measure_cost(
    predictor: Predictor, texts: Sequence[Text], *, folder: Path | None = None, budget_seconds: float = 5.0
) -> Cost:
    """The cost of one model; `measure_costs` with one model, see there."""
    folders = {} if folder is None else {"model": folder}
    return measure_costs({"model": predictor}, texts, folders=folders, budget_seconds=budget_seconds)["model"]


def measure_costs(
    models: Mapping[str, Predictor],
    texts: Sequence[Text],
    *,
    folders: Mapping[str, Path] | None = None,
    budget_seconds: float = 5.0,
) -> dict[str, Cost]:
    """The costs of several models, timed in turns (A B C A B C) so that a busy machine is unfair to none of them.

    Times are of the forward pass alone: tokenising and moving to the device are excluded. Every model sees the same
    texts, drawn from all that are given and repeated when they are few; batches are padded to their longest text.
    Each model is timed in evaluation mode without gradients, and left as it was.

    Args:
        models: name -> predictor; each is timed where it is, in its own dtype, on texts cut to its ``max_length``.
        texts: real texts, ``(text,)`` or ``(text, pair)``; a plain string is a single text.
        folders: name -> folder of that model's weights, or their file.
        budget_seconds: a model's share of time: 30 runs and 3 batches are timed, and more while time is left. Of a
            model so slow that these take over four times as long, fewer: ``latency_runs`` says how many.
    Returns:
        For each name all of `Cost`; ``disk_mb`` is None without a folder, the throughput is the median of the batches.
    Units: MB = 1e6 bytes; ms; examples per second.
    Raises:
        RequestError: no texts or no models, or a folder without weights.
    """
    if not texts or not models:
        raise RequestError("a cost is measured on at least one text and one model: give some of the task's texts")
    sizes = {name: _sizes(model.backend, (folders or {}).get(name)) for name, model in models.items()}
    with ExitStack() as stack:
        for model in models.values():
            stack.enter_context(model.backend.evaluating())
        runners = {name: _Runner.make(model, texts) for name, model in models.items()}
        share = budget_seconds * len(models) / 2
        latency = _interleave({name: (r, r.singles) for name, r in runners.items()}, LATENCY_RUNS, share)
        batches = _interleave({name: (r, r.batches) for name, r in runners.items()}, THROUGHPUT_RUNS, share)
    return {
        name: Cost(
            **sizes[name],
            latency_p50_ms=float(np.percentile(latency[name], 50) * 1000),
            latency_p95_ms=float(np.percentile(latency[name], 95) * 1000),
            throughput_per_s=float(BATCH / np.median(batches[name])),
            **runner.conditions(),
            latency_runs=len(latency[name]),
            throughput_batches=len(batches[name]),
        )
        for name, runner in runners.items()
    }


def time_in_turns(models: Mapping[str, Predictor], texts: Sequence[Text], *, seconds: float = 3.0) -> Turns:
    """What several models take for a single text, the forward pass alone, in turns.

    Args:
        models: name -> predictor, as for `measure_costs`.
        texts: real ones; `TURN_TEXTS` of them are answered, again and again.
        seconds: for all of it; twelve rounds are timed, and more while some are left (`take_turns`).
    Raises:
        RequestError: no texts or no models.
    """
    if not texts or not models:
        raise RequestError("a speed is measured on at least one text and one model: give some of the task's texts")
    chosen = _spread(texts, TURN_TEXTS)
    with ExitStack() as stack:
        for model in models.values():
            stack.enter_context(model.backend.evaluating())
        work = {
            name: [partial(_answer, model.backend, model.encode([text])) for text in chosen]
            for name, model in models.items()
        }
        return take_turns(work, rounds=TURN_ROUNDS, seconds=seconds)


def _answer(backend: Backend, inputs: dict[str, Tensor]) -> None:
    backend(inputs)
    backend.wait()


def disk_mb(folder: Path) -> float:
    """MB (1e6 bytes) of the weights in a folder, all ``*.safetensors`` files of a sharded model together.

    Args:
        folder: of a model; or the file that an exported one is named by.
    Raises:
        RequestError: there is no such file.
    """
    if folder.is_file():
        return sum(file.stat().st_size for file in files_of(folder)) / 1e6
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise RequestError(f"no weights (*.safetensors) in '{folder}': give the folder that the model was saved in")
    return sum(file.stat().st_size for file in files) / 1e6


def _sizes(backend: Backend, folder: Path | None) -> dict[str, Any]:
    total, without = backend.count_parameters()
    return {
        "parameters": total,
        "parameters_without_embeddings": without,
        "disk_mb": None if folder is None else disk_mb(folder),
    }


@dataclass(frozen=True)
class _Runner:
    """A model and its tokenised inputs, ready to be timed."""

    backend: Backend
    singles: list[dict[str, Tensor]]
    batches: list[dict[str, Tensor]]

    @classmethod
    def make(cls, model: Predictor, texts: Sequence[Text]) -> _Runner:
        singles = [model.encode([text]) for text in _spread(texts, LATENCY_RUNS[1])]
        many = _spread(texts, BATCH * THROUGHPUT_RUNS[1])
        batches = [model.encode(many[i : i + BATCH]) for i in range(0, len(many), BATCH)]
        return cls(model.backend, singles, batches)

    def seconds(self, inputs: dict[str, Tensor]) -> float:
        """Wall time of one forward pass, waiting for the device to finish."""
        self.backend.wait()
        start = time.perf_counter()
        self.backend(inputs)
        self.backend.wait()
        return time.perf_counter() - start

    def conditions(self) -> dict[str, Any]:
        import torch

        tokens = [inputs["input_ids"].shape[1] for inputs in self.singles]
        return {
            "threads": torch.get_num_threads(),
            "device": self.backend.device.type,
            "dtype": self.backend.dtype,
            "tokens_per_text": float(np.mean(tokens)),
        }


def _interleave(
    work: Mapping[str, tuple[_Runner, list[dict[str, Tensor]]]], runs: tuple[int, int], budget_seconds: float
) -> dict[str, list[float]]:
    """Times every model once a round, until the budget is spent (after ``runs[0]`` rounds) or ``runs[1]`` are done."""
    for runner, inputs in work.values():
        for warm_up in range(WARM_UP if runs is LATENCY_RUNS else 1):
            runner.seconds(inputs[-1 - warm_up])
    start = time.perf_counter()
    times: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(runs[1]):
        limit = budget_seconds if turn >= runs[0] else PATIENCE * budget_seconds
        if turn > 0 and time.perf_counter() - start > limit:
            break
        for name, (runner, inputs) in work.items():
            times[name].append(runner.seconds(inputs[turn]))
    return times


def _spread(texts: Sequence[Text], count: int) -> list[tuple[str, ...]]:
    """``count`` texts drawn from all of them with a fixed seed, whatever their order; repeated when they are fewer."""
    order = np.random.default_rng(0).permutation(len(texts))
    chosen = [texts[order[i % len(order)]] for i in range(count)]
    return [(text,) if isinstance(text, str) else tuple(text) for text in chosen]
