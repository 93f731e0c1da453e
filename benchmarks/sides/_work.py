"""What the sides share: the job, the models, tokenising, the clock and the score. Needs torch and transformers only.

A side is started as ``python -m benchmarks.sides.NAME JOB`` and prints its figures as JSON. Models are loaded, and the
threads warmed up, before its clock starts; writing the figures is not timed either.
"""

import copy
import json
import os
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup

from benchmarks._harness import answer, device, rss_mb, synchronize

Features = dict[str, list[int] | int]

EVALUATION_BATCH = 64
WARM_UP_SHARE = 0.1  # of the steps, of the learning rate


@dataclass(frozen=True)
class Job:
    """What every side does alike.

    Args:
        folder: holds ``teacher/``, ``student/`` (its start), ``train.json`` and ``validation.json``.
        rows, validation_rows: how many of each; None for all.
        pairs: ``[student layer, teacher layer]``, counted from 1.
        precision: ``fp32`` or ``bf16``, for the sides that can.
    """

    folder: str
    rows: int
    validation_rows: int | None
    seed: int
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    max_length: int
    temperature: float
    pairs: list[list[int]]
    precision: str
    threads: int

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return self.epochs * -(-self.rows // self.batch_size)


def read_job() -> Job:
    """From the command line; sets seed and threads."""
    job = Job(**json.loads(sys.argv[1]))
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(job.threads)
    random.seed(job.seed)
    torch.manual_seed(job.seed)
    return job


def load_models(job: Job, attention: str = "sdpa") -> tuple[Any, Any, Any]:
    """Tokenizer, teacher (frozen, in evaluation mode) and student."""
    folder = Path(job.folder)
    teacher, student = (
        AutoModelForSequenceClassification.from_pretrained(folder / name, attn_implementation=attention).to(device())
        for name in ("teacher", "student")
    )
    batch = torch.ones(8, 32, dtype=torch.long, device=device())
    for model in (copy.deepcopy(teacher), copy.deepcopy(student)):  # warm-up: threads, memory, kernels
        model(input_ids=batch).logits.sum().backward()
    return AutoTokenizer.from_pretrained(folder / "teacher"), teacher.eval().requires_grad_(False), student


def read_rows(job: Job, split: str) -> list[dict[str, Any]]:
    """``text``, ``text_pair`` and ``label`` of each example."""
    rows: list[dict[str, Any]] = json.loads((Path(job.folder) / f"{split}.json").read_text(encoding="utf-8"))
    return rows


def tokenise(job: Job, tokenizer: Any, split: str, padding: bool | str = False) -> list[Features]:
    """One mapping an example, with ``labels``; ``padding="max_length"`` pads all to the job's length."""
    rows = read_rows(job, split)
    encoded = tokenizer(
        [row["text"] for row in rows],
        [row["text_pair"] for row in rows],
        truncation=True,
        max_length=job.max_length,
        padding=padding,
    )
    return [{**{name: encoded[name][i] for name in encoded}, "labels": row["label"]} for i, row in enumerate(rows)]


def collate(tokenizer: Any, features: Sequence[Features]) -> dict[str, Tensor]:
    """A batch padded to its longest example."""
    return dict(tokenizer.pad(list(features), return_tensors="pt"))


def make_optimizer(job: Job, student: Any, **options: Any) -> torch.optim.AdamW:
    """AdamW without decay on biases and norms, as Trainer and TextBrewer's examples have it."""
    plain = [p for name, p in student.named_parameters() if name.endswith("bias") or "LayerNorm" in name]
    decayed = [p for name, p in student.named_parameters() if not (name.endswith("bias") or "LayerNorm" in name)]
    groups = [{"params": decayed, "weight_decay": job.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=job.learning_rate, **options)


def make_schedule(job: Job, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LambdaLR:
    """Linear, with a warm-up."""
    return get_linear_schedule_with_warmup(optimizer, int(WARM_UP_SHARE * job.steps), job.steps)


def masked_mean(squares: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``squares`` where ``mask``, which broadcasts to it, is 1."""
    return (squares * mask).sum() / mask.expand_as(squares).sum()


def soft_target(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """``T^2 KL(teacher || student)`` of logits."""
    log_q, log_p = (F.log_softmax(logits / temperature, dim=-1) for logits in (student, teacher))
    return F.kl_div(log_q, log_p, reduction="batchmean", log_target=True) * temperature**2


class Clock:
    """Seconds of each part, in the order in which they end."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """The part ``name`` ends now."""
        synchronize()
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now


class Epochs:
    """Seconds of each epoch."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, epochs: int) -> Iterator[int]:
        """As ``range(epochs)``, timed."""
        for epoch in range(epochs):
            start = time.perf_counter()
            yield epoch
            synchronize()
            self.seconds.append(time.perf_counter() - start)


def predict(student: Any, batches: Iterator[Mapping[str, Tensor]]) -> dict[str, float]:
    """Score the student on batches with labels."""
    student.eval()
    predicted, labels = [], []
    with torch.no_grad():
        for batch in batches:
            inputs = {name: tensor.to(device()) for name, tensor in batch.items() if name != "labels"}
            predicted.append(student(**inputs).logits.argmax(dim=-1).cpu())
            labels.append(batch["labels"])
    return score(torch.cat(predicted), torch.cat(labels))


def score(predicted: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy, and for two classes F1 of class 1."""
    scores = {"accuracy": (predicted == labels).double().mean().item()}
    if int(labels.max()) == 1:
        hits = int(((predicted == 1) & (labels == 1)).sum())
        scores["f1"] = 2 * hits / max(1, int((predicted == 1).sum() + (labels == 1).sum()))
    return scores


def chunks(features: Sequence[Features], size: int = EVALUATION_BATCH) -> Iterator[Sequence[Features]]:
    """Runs of ``size``."""
    return (features[start : start + size] for start in range(0, len(features), size))


def report(job: Job, clock: Clock, epochs: Sequence[float], scores: Mapping[str, float], precision: str) -> None:
    """Tell the process that started this one."""
    answer(
        **clock.laps,
        total=sum(clock.laps.values()),
        epochs=list(epochs),
        step=clock.laps["train"] / job.steps,
        peak_mb=rss_mb("VmHWM"),
        precision=precision,
        scores=dict(scores),
    )
