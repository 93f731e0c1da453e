"""What a teacher with a tokenizer, or a text, of its own reads: it stands beside the student's tokens."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from distilnlp.problems import TEACHER_TEXT

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from distilnlp.problems.reading import Reader

__all__ = ["TEACHER_INPUTS", "TEACHER_ROWS", "own_batch", "own_columns", "own_dataset", "own_rows", "pad_own"]

# A row's columns, and what the teacher calls them.
TEACHER_INPUTS = {f"teacher_{name}": name for name in ("input_ids", "attention_mask", "token_type_ids")}
# In a batch every text of the teacher's stands once: of each example, which of them is its own.
TEACHER_ROWS = "teacher_rows"

_IDS = "teacher_input_ids"


def own_columns(reader: Reader, rows: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """The columns of some rows that their teacher reads.

    Args:
        reader: with the teacher's tokenizer.
        rows: the column ``teacher_text``, or else ``text``.
    """
    encoded = reader.encode({"text": rows[TEACHER_TEXT] if TEACHER_TEXT in rows else rows["text"]})
    return {
        f"teacher_{name}": values for name, values in encoded.columns.items() if f"teacher_{name}" in TEACHER_INPUTS
    }


def own_rows(features: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Tokenised rows as the teacher reads them."""
    return [
        {TEACHER_INPUTS[name]: values for name, values in each.items() if name in TEACHER_INPUTS} for each in features
    ]


def own_dataset(dataset: Dataset) -> Dataset:
    """A tokenised data set as the teacher reads it, each of its texts once."""
    names = [name for name in dataset.column_names if name in TEACHER_INPUTS]
    seen: dict[int, int] = {}
    ids = (each for batch in dataset.select_columns([_IDS]).iter(1000) for each in batch[_IDS])
    for place, each in enumerate(ids):
        seen.setdefault(hash(tuple(each)), place)
    once = dataset.select_columns(names).select([*seen.values()], keep_in_memory=True)
    return once.rename_columns({name: TEACHER_INPUTS[name] for name in names})


def pad_own(features: Sequence[MutableMapping[str, Any]], tokenizer: PreTrainedTokenizerBase) -> dict[str, Tensor]:
    """Take what the teacher reads out of the features of a batch, and make tensors of it.

    Shapes:
        teacher_input_ids, ...: ``(texts, longest of them)``, each text once; teacher_rows: ``(batch,)``.
    """
    import torch

    taken = [{TEACHER_INPUTS[name]: each.pop(name) for name in TEACHER_INPUTS if name in each} for each in features]
    once: dict[tuple[int, ...], dict[str, Any]] = {}
    for each in taken:
        once.setdefault(tuple(each["input_ids"]), each)
    places = {ids: place for place, ids in enumerate(once)}
    rows = [places[tuple(each["input_ids"])] for each in taken]
    padded = tokenizer.pad([*once.values()], padding=True, return_tensors="pt", verbose=False)
    return {f"teacher_{name}": tensor for name, tensor in padded.items()} | {TEACHER_ROWS: torch.tensor(rows)}


def own_batch(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A batch as the teacher reads it: ``(texts, tokens)`` each."""
    return {own: batch[name] for name, own in TEACHER_INPUTS.items() if name in batch}
