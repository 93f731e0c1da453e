"""A fine-tuned model as a folder of ONNX files that answers as it does: traced, compared, quantised, measured."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from distilnlp.data.task import Task
from distilnlp.errors import RequestError, RunError
from distilnlp.export.graph import OLDEST_OPSET, opset_of, tidied, trace, write
from distilnlp.models.backend import TorchBackend
from distilnlp.models.chosen_tokens import HEAD_TOKENS
from distilnlp.models.loading import load_classifier, load_tokenizer
from distilnlp.models.predictor import Predictor, Text
from distilnlp.onnx_file import FOLDER, MODEL, need_onnx
from distilnlp.run.evaluation import texts_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["PARITY", "ExportSettings", "Exported", "export_model"]

PARITY = 1e-3  # the largest difference of a logit that an export in fp32 may make
COMPARED = 64  # texts that the logits are compared on
# Where no data are given: texts of several lengths, in several scripts.
TEXTS = (
    "A plain text, 12 times.",
    "It was not bad at all; I would see it again tomorrow, and so would they.",
    "Ωδή, 漢字 and \U0001f600.",
    "How far is it from Denver to Aspen, and who would want to walk there in the winter, with all that snow?",
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportSettings:
    """What is made of a model.

    Args:
        opset: version of ONNX's operators; None is the newest that the exporter knows.
        max_length: tokens that texts are cut to where the model is asked, as for `Predictor`.
    Raises:
        RequestError: an opset that the exporter does not write.
    """

    opset: int | None = None
    max_length: int | None = None

    def __post_init__(self) -> None:
        if self.opset is not None and self.opset < OLDEST_OPSET:
            raise RequestError(f"opset={self.opset}: the exporter writes {OLDEST_OPSET} and newer ones")


@dataclass(frozen=True)
class Exported:
    """What an export came to.

    Args:
        folder: the new folder.
        opset: version of ONNX's operators in its files.
        difference: the largest difference of a logit from the model's, in fp32.
        compared: on how many texts.
    """

    folder: Path
    opset: int
    difference: float
    compared: int


def export_model(
    name: str, output: str | Path, task: Task | None = None, settings: ExportSettings | None = None
) -> Exported:
    """Write a fine-tuned model as a folder of ONNX files: complete, or not at all.

    At the root stand the config and the tokenizer, in ``onnx/`` the files, each with its weights in it, as
    transformers.js and Optimum look for them.

    Args:
        name: a folder or Hub id of a model for any kind of task.
        output: the new folder.
        task: as `load_task` gives it; on its held-out examples the exported model is compared and measured.
        settings: None is `ExportSettings()`.
    Raises:
        RequestError: no such model, or one that cannot be exported; ``output`` is there already; the extra ``onnx`` is
            not installed.
        RunError: the exported model answers differently from the model.
    """
    settings = settings or ExportSettings()
    need_onnx()
    output = Path(output)
    if output.exists() or output.is_symlink():
        raise RequestError(f"{output} is there already: give the name of a new folder")
    model = load_classifier(name, require_head=True)
    tokenizer = load_tokenizer(name)
    source = Predictor(TorchBackend(model, torch.device("cpu")), tokenizer, max_length=settings.max_length)
    texts = _texts(source, task)
    batch = source.encode(texts[:2])
    inputs = {column: tensor for column, tensor in batch.items() if column != HEAD_TOKENS}
    with source.backend.evaluating():
        graph = trace(model, inputs, opset=settings.opset)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as scratch:
        made = Path(scratch) / output.name
        _write_beside(model, made)
        tokenizer.save_pretrained(str(made))
        (made / FOLDER).mkdir()
        opset = opset_of(graph)
        write(tidied(graph), made / FOLDER / MODEL)
        exported = Predictor.load(made / FOLDER / MODEL, max_length=settings.max_length)
        difference = largest_difference(source, exported, texts)
        if not difference <= PARITY:
            raise RunError(
                f"the exported model's logits differ from those of {name} by up to {difference:.2g}, and at most "
                f"{PARITY:g} may come of rounding: it is not written; try another --opset"
            )
        made.rename(output)
    return Exported(output, opset, difference, len(texts))


def largest_difference(one: Predictor, other: Predictor, texts: Sequence[Text]) -> float:
    """Between the logits of two models, over all texts; infinite where they are not even of one shape."""
    first, second = one.logits(texts), other.logits(texts)
    return float(np.abs(first - second).max(initial=0.0)) if first.shape == second.shape else float("inf")


def _texts(predictor: Predictor, task: Task | None) -> list[Any]:
    """What is asked: some of a task's held-out examples, in any order, one of them as long as the model reads."""
    if task is not None and task.validation is not None:
        order = np.random.default_rng(0).permutation(len(task.validation))[:COMPARED]
        chosen: list[Any] = texts_of(task.validation.select(np.sort(order)))
    else:
        parts = predictor.problem.parts
        chosen = [(text,) if 1 in parts else (text, TEXTS[place - 1]) for place, text in enumerate(TEXTS)]
    first, *second = chosen[0]
    if isinstance(first, str):
        everything = " ".join(str(row[0]) for row in chosen)
        if predictor.problem.rows == "span":
            chosen.append((first, everything))
        else:
            chosen.append((" ".join([everything] * 20), *second))
    return chosen if len(chosen) > 1 else chosen * 2


def _write_beside(model: PreTrainedModel, folder: Path) -> None:
    """All that stands beside the weights of a saved model: its config, and how a sentence encoder pools."""
    model.save_pretrained(folder)
    for path in folder.glob("model*.safetensors*"):
        path.unlink()
