"""What a model costs to keep and to run: parameters, disk, latency and throughput."""

import inspect
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from distilnlp.errors import RequestError

if TYPE_CHECKING:
    import torch
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["BATCH", "Cost", "count_parameters", "disk_mb", "measure_cost", "measure_costs"]

BATCH = 32
LATENCY_RUNS = (30, 100)  # at least, at most
THROUGHPUT_RUNS = (3, 10)
PATIENCE = 4  # so many times the budget, and not even the least number of runs is waited for
WARM_UP = 3

Cost = dict[str, float | int | str | None]
Text = str | tuple[str, ...]


def measure_cost(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    texts: Sequence[Text],
    *,
    folder: Path | None = None,
    max_length: int | None = None,
    budget_seconds: float = 5.0,
) -> Cost:
    """The cost of one model; `measure_costs` with one model, see there."""
    folders = {} if folder is None else {"model": folder}
    return measure_costs(
        {"model": (model, tokenizer)}, texts, folders=folders, max_length=max_length, budget_seconds=budget_seconds
    )["model"]


def measure_costs(
    models: Mapping[str, tuple["PreTrainedModel", "PreTrainedTokenizerBase"]],
    texts: Sequence[Text],
    *,
    folders: Mapping[str, Path] | None = None,
    max_length: int | None = None,
    budget_seconds: float = 5.0,
) -> dict[str, Cost]:
    """The costs of several models, timed in turns (A B C A B C) so that a busy machine is unfair to none of them.

    Times are of the forward pass alone: tokenising and moving to the device are excluded. Every model sees the same
    texts, drawn from all that are given and repeated when they are few; batches are padded to their longest text.
    Each model is timed in evaluation mode without gradients, and left as it was.

    Args:
        models: name -> (model, tokenizer); each is timed where it is, in its own dtype.
        texts: real texts, ``(text,)`` or ``(text, pair)``; a plain string is a single text.
        folders: name -> folder of that model's weights.
        max_length: tokens kept of a text; without it, as many as the model takes.
        budget_seconds: a model's share of time: 30 runs and 3 batches are timed, and more while time is left. Of a
            model so slow that these take over four times as long, fewer: ``latency_runs`` says how many.
    Returns:
        For each name: ``parameters``, ``parameters_without_embeddings``, ``disk_mb`` (None without a folder),
        ``latency_p50_ms``, ``latency_p95_ms`` (batch 1), ``throughput_per_s`` (examples, batch 32, median of the
        batches), and how it was measured: ``threads``, ``device``, ``dtype``, ``latency_runs``,
        ``throughput_batches``, ``tokens_per_text``.
    Units: MB = 1e6 bytes; ms; examples per second.
    Raises:
        RequestError: no texts or no models, or a folder without weights.
    """
    if not texts or not models:
        raise RequestError("a cost is measured on at least one text and one model: give some of the task's texts")
    sizes = {name: _sizes(model, (folders or {}).get(name)) for name, (model, _) in models.items()}
    with _evaluation_mode([model for model, _ in models.values()]):
        runners = {name: _Runner.make(*pair, texts, max_length) for name, pair in models.items()}
        share = budget_seconds * len(models) / 2
        latency = _interleave({name: (r, r.singles) for name, r in runners.items()}, LATENCY_RUNS, share)
        batches = _interleave({name: (r, r.batches) for name, r in runners.items()}, THROUGHPUT_RUNS, share)
    return {
        name: {
            **sizes[name],
            "latency_p50_ms": float(np.percentile(latency[name], 50) * 1000),
            "latency_p95_ms": float(np.percentile(latency[name], 95) * 1000),
            "throughput_per_s": float(BATCH / np.median(batches[name])),
            **runner.conditions(),
            "latency_runs": len(latency[name]),
            "throughput_batches": len(batches[name]),
        }
        for name, runner in runners.items()
    }


def count_parameters(model: "PreTrainedModel") -> tuple[int, int]:
    """Parameters of a model, all and without embeddings; a shared (tied) one counts once.

    The embeddings are the tables of the module that holds the input word embedding: words, positions, token types.
    """
    from torch import nn

    words = model.get_input_embeddings()
    holder: nn.Module = next((m for m in model.modules() if any(child is words for child in m.children())), words)
    tables = {id(m.weight): m.weight.numel() for m in holder.modules() if isinstance(m, nn.Embedding)}
    total = sum(parameter.numel() for parameter in model.parameters())
    return total, total - sum(tables.values())


def disk_mb(folder: Path) -> float:
    """MB (1e6 bytes) of the weights in a folder, all ``*.safetensors`` files of a sharded model together.

    Raises:
        RequestError: there is no such file.
    """
    files = sorted(Path(folder).glob("*.safetensors"))
    if not files:
        raise RequestError(f"no weights (*.safetensors) in '{folder}': give the folder that the model was saved in")
    return sum(file.stat().st_size for file in files) / 1e6


def _sizes(model: "PreTrainedModel", folder: Path | None) -> Cost:
    total, without = count_parameters(model)
    return {
        "parameters": total,
        "parameters_without_embeddings": without,
        "disk_mb": None if folder is None else disk_mb(folder),
    }


@contextmanager
def _evaluation_mode(models: Sequence["nn.Module"]) -> Iterator[None]:
    """Evaluation mode without gradients, for every module; afterwards each is as it was, frozen parts included."""
    import torch

    modes = [(module, module.training) for model in models for module in model.modules()]
    try:
        for model in models:
            model.eval()
        # Not inference_mode: tables that a model makes on its first call would be unusable in training afterwards.
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


@dataclass(frozen=True)
class _Runner:
    """A model and its tokenised inputs, ready to be timed."""

    model: "PreTrainedModel"
    singles: list[dict[str, "torch.Tensor"]]
    batches: list[dict[str, "torch.Tensor"]]

    @classmethod
    def make(
        cls,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        texts: Sequence[Text],
        max_length: int | None,
    ) -> "_Runner":
        limit = _max_length(model, tokenizer, max_length)
        singles = [_encode(model, tokenizer, [text], limit) for text in _spread(texts, LATENCY_RUNS[1])]
        many = _spread(texts, BATCH * THROUGHPUT_RUNS[1])
        batches = [_encode(model, tokenizer, many[i : i + BATCH], limit) for i in range(0, len(many), BATCH)]
        return cls(model, singles, batches)

    def seconds(self, inputs: dict[str, "torch.Tensor"]) -> float:
        """Wall time of one forward pass, waiting for the device to finish."""
        self._wait()
        start = time.perf_counter()
        self.model(**inputs)
        self._wait()
        return time.perf_counter() - start

    def _wait(self) -> None:
        import torch

        if self.model.device.type == "cuda":
            torch.cuda.synchronize(self.model.device)
        elif self.model.device.type == "mps":
            torch.mps.synchronize()

    def conditions(self) -> Cost:
        import torch

        tokens = [inputs["input_ids"].shape[1] for inputs in self.singles]
        return {
            "threads": torch.get_num_threads(),
            "device": self.model.device.type,
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "tokens_per_text": float(np.mean(tokens)),
        }


def _interleave(
    work: Mapping[str, tuple[_Runner, list[dict[str, "torch.Tensor"]]]], runs: tuple[int, int], budget_seconds: float
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


def _encode(
    model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", texts: list[tuple[str, ...]], max_length: int
) -> dict[str, "torch.Tensor"]:
    columns = [list(column) for column in zip(*texts, strict=True)]
    batch = tokenizer(*columns, padding=True, truncation=True, max_length=max_length, return_tensors="pt")
    parameters = inspect.signature(model.forward).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return {key: value.to(model.device) for key, value in batch.items() if takes_any or key in parameters}


def _max_length(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", max_length: int | None) -> int:
    positions = model.config.to_dict().get("max_position_embeddings")
    # RoBERTa keeps the first two positions for itself; two tokens fewer change no other model's time.
    accepted = positions - 2 if isinstance(positions, int) and positions > 2 else 512
    return min(value for value in (max_length, tokenizer.model_max_length, accepted) if value is not None)
