"""The usual teacher: a fine-tuned model that never changes."""

import dataclasses
import hashlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.errors import RequestError
from distilnlp.models.capture import Capture, model_info
from distilnlp.models.heads import head_logits, name_architecture
from distilnlp.models.labels import label_names_of
from distilnlp.models.loading import load_classifier, load_tokenizer, merge_adapter
from distilnlp.models.task_heads import check_one_task
from distilnlp.outputs import Needs, Outputs
from distilnlp.typed import typed

__all__ = ["FrozenTeacher", "load_teacher"]


class FrozenTeacher:
    """A model in evaluation mode, without gradients, whose outputs are bit for bit the same each time.

    Args:
        model: a model of transformers with a head. Its adapters are merged, its parameters frozen.
        tokenizer: its tokenizer; used to check that the student reads the same tokens.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase | None = None) -> None:
        model = merge_adapter(model)
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        name_architecture(model)
        self.info = model_info(model)
        self.columns = frozenset(inspect.signature(model.forward).parameters)
        self.label_names = label_names_of(model)
        self._order: list[int] | None = None
        self._capture: Capture | None = None
        self.needs = Needs()
        self.device = torch.device("cpu")

    def prepare(self, where: torch.device, needs: Needs) -> None:
        """Move the model and capture what is needed. Raises RequestError when the model has not got it."""
        self.model.to(where)
        self.device, self.needs = where, needs
        if self._capture is not None:
            self._capture.remove()
        self._capture = Capture(self.model, needs)

    def release(self) -> None:
        """Take the capture off the model again."""
        if self._capture is not None:
            self._capture.remove()
            self._capture = None

    def fingerprint(self) -> str:
        """A digest of everything that the answers depend on in the model: weights, config, order of the labels."""
        config = {key: value for key, value in self.model.config.to_dict().items() if key != "_name_or_path"}
        hashed = hashlib.sha256(json.dumps([config, self._order], sort_keys=True, default=str).encode())
        for name, tensor in sorted(self.model.state_dict().items()):
            hashed.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            hashed.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return hashed.hexdigest()

    def reorder_labels(self, order: tuple[int, ...]) -> None:
        """From now on give logit ``order[i]`` as the i-th (the student's label order)."""
        self._order = list(order)

    def answer(self, inputs: Mapping[str, Tensor]) -> Tensor:
        """Its logits, in the student's order; gradients go through them to what the inputs were made of.

        Args:
            inputs: of texts that may be others than the batch's; what it does not read is left out.
        """
        self.model.eval()
        known = {name: tensor for name, tensor in inputs.items() if name in self.columns and name != "labels"}
        logits = head_logits(self.model(**known))
        return logits if self._order is None else logits[..., self._order]

    def __call__(self, batch: Mapping[str, Tensor]) -> Outputs:
        """The outputs for a batch, whatever else is in it, without any gradient."""
        if self._capture is None:
            raise RuntimeError("prepare() the teacher before its first batch")
        self.model.eval()  # somebody may share the model and have set it to train
        with torch.no_grad():
            outputs = self._capture.run(batch, self._order)
        if self._order is not None and outputs.logits is not None:
            outputs = dataclasses.replace(outputs, logits=outputs.logits[..., self._order])
        return outputs


@typed
def load_teacher(
    model: PreTrainedModel | str | Path, tokenizer: PreTrainedTokenizerBase | None = None
) -> FrozenTeacher:
    """Make a teacher of a fine-tuned model.

    Args:
        model: a folder, a Hub id, or a model already loaded (then give its tokenizer too).
        tokenizer: default: the one saved with the model.
    Raises:
        RequestError: it cannot be loaded, or has no classification head (an untrained head teaches noise).
    """
    if isinstance(model, PreTrainedModel):
        return FrozenTeacher(model, tokenizer)
    if not isinstance(model, str | Path):
        raise RequestError(f"a teacher is a folder, a Hub id or a model of transformers; got {type(model).__name__}")
    loaded = load_classifier(model, require_head=True)
    check_one_task(loaded.config, str(model))
    return FrozenTeacher(loaded, tokenizer if tokenizer is not None else load_tokenizer(model))
