"""What a teacher with a tokenizer, or a text, of its own reads: it stands beside the student's tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from distilnlp.data.alignment import align_tokens, stretch
from distilnlp.data.nested import flat_dataset, flat_rows
from distilnlp.errors import RequestError
from distilnlp.problems import ALIGNMENT, TEACHER_ALIGNMENT, TEACHER_TEXT

if TYPE_CHECKING:
    from datasets import Dataset
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

    from distilnlp.problems.reading import Encoded, Reader

__all__ = [
    "TEACHER_INPUTS",
    "TEACHER_ROWS",
    "own_batch",
    "own_columns",
    "own_dataset",
    "own_mask",
    "own_rows",
    "pad_own",
]

# A row's columns, and what the teacher calls them.
TEACHER_INPUTS = {f"teacher_{name}": name for name in ("input_ids", "attention_mask", "token_type_ids")}
# In a batch every text of the teacher's stands once: of each example, which of them is its own.
TEACHER_ROWS = "teacher_rows"

_IDS = "teacher_input_ids"


def own_columns(reader: Reader, rows: Mapping[str, Sequence[Any]], student: Encoded) -> dict[str, list[Any]]:
    """The columns of some rows that their teacher reads, for each of the student's inputs.

    It reads the text or pair that an input is made of, cut to what it takes itself; of a text that the student reads
    in windows, what stands in the window.

    Args:
        reader: of texts, with the teacher's tokenizer. Where it `keeps_tokens` there are ``alignment`` and
            ``teacher_alignment`` too, of each token of both the number of its piece (`align_tokens`).
        rows: may have the column ``teacher_text``, which is read in place of ``text``.
        student: the student's inputs of these rows, with their texts and tokens.
    Raises:
        RequestError: an input without a word that the teacher has a token for, of a kind that answers by word.
    """
    if TEACHER_TEXT in rows:
        return _named(reader.encode({"text": [rows[TEACHER_TEXT][row] for row in student.example]}))
    texts, starts = _read_by_teacher(student)
    encoded = reader.encode(dict(zip(("text", "text_pair"), zip(*texts, strict=True), strict=False)))
    columns = _named(encoded)
    if not reader.keeps_tokens:
        return columns
    aligned = [align_tokens(*each) for each in zip(student.tokens, encoded.tokens, student.texts, starts, strict=True)]
    for mask, (own, _), (text, *_) in zip(student.columns.get("label_mask", ()), aligned, student.texts, strict=False):
        if not any(counts and piece >= 0 for counts, piece in zip(mask, own, strict=True)):
            raise RequestError(
                f"the teacher's tokenizer has no token for any word of the text {text!r:.60}: leave it out, or take a"
                " teacher with the student's tokenizer"
            )
    return columns | {ALIGNMENT: [own for own, _ in aligned], TEACHER_ALIGNMENT: [theirs for _, theirs in aligned]}


def _named(encoded: Encoded) -> dict[str, list[Any]]:
    return {
        f"teacher_{name}": values for name, values in encoded.columns.items() if f"teacher_{name}" in TEACHER_INPUTS
    }


def _read_by_teacher(student: Encoded) -> tuple[list[tuple[str, ...]], list[tuple[int, ...]]]:
    """What the teacher reads for each of the student's inputs, and where that begins in the student's texts."""
    windows = Counter(zip(student.example, student.texts, strict=True))
    texts, starts = [], []
    for place, (example, whole) in enumerate(zip(student.example, student.texts, strict=True)):
        spans = [(0, len(text)) for text in whole]
        if windows[example, whole] > 1:
            spans = [stretch(student.tokens[place], number) for number in range(len(whole))]
        texts.append(tuple(text[start:end] for text, (start, end) in zip(whole, spans, strict=True)))
        starts.append(tuple(start for start, _ in spans))
    return texts, starts


def own_rows(features: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Tokenised rows as the teacher reads them, a row for each of the student's inputs."""
    return [
        {TEACHER_INPUTS[name]: values for name, values in each.items() if name in TEACHER_INPUTS}
        for each in flat_rows(features)
    ]


def own_dataset(dataset: Dataset) -> Dataset:
    """A tokenised data set as the teacher reads it, each of its texts once."""
    dataset = flat_dataset(dataset)
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
        teacher_input_ids, ...: ``(texts, longest of them)``, each text once; teacher_rows: ``(batch,)``;
        teacher_alignment: ``(batch, longest of them)``, padded with -1, where the features have it.
    """
    import torch

    taken = [{TEACHER_INPUTS[name]: each.pop(name) for name in TEACHER_INPUTS if name in each} for each in features]
    once: dict[tuple[int, ...], dict[str, Any]] = {}
    for each in taken:
        once.setdefault(tuple(each["input_ids"]), each)
    places = {ids: place for place, ids in enumerate(once)}
    rows = [places[tuple(each["input_ids"])] for each in taken]
    padded = tokenizer.pad([*once.values()], padding=True, return_tensors="pt", verbose=False)
    own = {f"teacher_{name}": tensor for name, tensor in padded.items()} | {TEACHER_ROWS: torch.tensor(rows)}
    aligned = [each.pop(TEACHER_ALIGNMENT) for each in features if TEACHER_ALIGNMENT in each]
    if aligned:
        left, length = tokenizer.padding_side == "left", padded["input_ids"].shape[1]
        gaps = [[-1] * (length - len(each)) for each in aligned]
        both = zip(gaps, aligned, strict=True)
        own[TEACHER_ALIGNMENT] = torch.tensor([[*gap, *each] if left else [*each, *gap] for gap, each in both])
    return own


def own_batch(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A batch as the teacher reads it: ``(texts, tokens)`` each."""
    return {own: batch[name] for name, own in TEACHER_INPUTS.items() if name in batch}


def own_mask(batch: Mapping[str, Tensor]) -> Tensor:
    """The attention mask of what the teacher reads for each of the student's inputs, ``(batch, tokens)``."""
    return batch["teacher_attention_mask"][batch[TEACHER_ROWS]]
