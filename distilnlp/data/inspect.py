"""What a trainer wants to know of a data set: its labels, its tokens and how long they are."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow.compute as pc
from datasets import ClassLabel, Dataset, IterableDataset, Value
from transformers import PreTrainedTokenizerBase

from distilnlp.data.arrow import column_array, column_batches
from distilnlp.data.label_sets import label_sums, names_of_sets
from distilnlp.data.tokenize import first_rows, tokenize
from distilnlp.errors import RequestError
from distilnlp.problems import Problem, problem_of_columns
from distilnlp.problems.base import LABEL_COLUMNS, label_feature
from distilnlp.problems.reading import Reader

__all__ = [
    "dataset_label_names",
    "dataset_problem",
    "has_labels",
    "label_counts",
    "text_sample",
    "texts_alone",
    "to_tokens",
    "token_lengths",
    "visible_part",
]


def visible_part(dataset: Any) -> Any:
    """The first rows of a stream, as a `datasets.Dataset` that the other functions can ask; anything else as it is."""
    return first_rows(dataset) if isinstance(dataset, IterableDataset) else dataset


def dataset_label_names(dataset: Any) -> tuple[str, ...] | None:
    """The classes of a data set in order, or None where it does not name them."""
    feature = _label_feature(dataset)
    return tuple(feature.names) if isinstance(feature, ClassLabel) else names_of_sets(feature)


def dataset_problem(dataset: Any, own: Problem | None = None) -> Problem | None:
    """The problem that fits a data set's columns, or None where they do not tell (or are hidden).

    Args:
        dataset: or a dict of them.
        own: the problem of the model that will read it, where both could be of it.
    """
    if isinstance(dataset, dict):
        dataset = next(iter(dataset.values()), None)
    return problem_of_columns(dataset.features, own) if isinstance(dataset, Dataset) else None


def has_labels(dataset: Any) -> bool:
    """False for a data set that certainly has no labels; True where it has, or where its columns cannot be seen."""
    return not isinstance(dataset, Dataset) or _label_feature(dataset) is not None


def label_counts(dataset: Any, problem: Problem | None = None) -> tuple[list[int], int]:
    """In how many rows each class or each of several labels holds, and how many rows there are.

    Args:
        dataset: tokenised where the labels are by token.
        problem: the kind of task; None tells it by the column.
    Raises:
        RequestError: a stream, or anything else that cannot be counted before the training.
    """
    columns = dataset.column_names if isinstance(dataset, Dataset) else []
    name = next((name for name in LABEL_COLUMNS if name in columns), None)
    if name is not None and problem is not None and problem.rows == "token":
        tokens = np.concatenate([pc.list_flatten(batch).to_numpy() for batch in column_batches(dataset, name)])
        return np.bincount(tokens[tokens >= 0]).tolist(), len(dataset)
    if name is not None and _is_class_id(dataset.features[name]):
        ids = column_array(dataset, name)
        feature = dataset.features[name]
        classes = feature.num_classes if isinstance(feature, ClassLabel) else 0
        return np.bincount(ids[ids >= 0], minlength=classes).tolist(), len(dataset)
    if name is None:
        raise RequestError(
            "balanced weights count the labels before the training, which needs a data set with a label column and"
            " no stream: give numbers instead"
        )
    return [int(count) for count in label_sums(dataset, name)], len(dataset)


def _is_class_id(feature: Any) -> bool:
    return isinstance(feature, ClassLabel) or (isinstance(feature, Value) and "int" in feature.dtype)


def text_sample(dataset: Any, size: int = 20) -> list[str]:
    """The first texts of a data set that is not tokenised yet."""
    if isinstance(dataset, Dataset) and "text" in dataset.column_names:
        return [" ".join(text) if isinstance(text, list) else str(text) for text in dataset[:size]["text"]]
    return []


def to_tokens(
    dataset: Any,
    tokenizers: Sequence[PreTrainedTokenizerBase | None],
    max_length: int | None,
    words: bool = False,
    problem: Problem | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    held_out: bool = False,
    teacher: Reader | None = None,
) -> Any:
    """The data set or stream tokenised; one that is already, and anything that is not of `datasets`, as it is.

    Args:
        dataset: a data set, a dict of them, or None.
        tokenizers: the student's, then the teacher's (known to agree): the one that makes more inputs is used, so that
            a teacher with segments has them although its student (DistilBERT, say) does not read any.
        max_length, words, problem, settings, held_out, teacher: as in `tokenize`; ``problem`` may be the model's own.
    Raises:
        RequestError: there is text and no tokenizer.
    """
    if isinstance(dataset, dict):
        return {
            name: to_tokens(part, tokenizers, max_length, words, problem, settings, held_out, teacher)
            for name, part in dataset.items()
        }
    if not isinstance(dataset, Dataset | IterableDataset):
        return dataset
    seen = visible_part(dataset)
    if "input_ids" in seen.column_names:
        # Of several labels, the ids of those that hold: the collator knows them by this name
        kind = dataset_problem(seen, problem)
        sets = kind is not None and kind.several_labels and names_of_sets(seen.features.get("labels")) is not None
        return dataset.rename_column("labels", "label_ids") if sets else dataset
    known = [tokenizer for tokenizer in tokenizers if tokenizer is not None]
    if not known:
        raise RequestError("the data set holds text and there is no tokenizer: give processing_class=tokenizer")
    most = max(known, key=lambda tokenizer: len(tokenizer.model_input_names))
    return tokenize(dataset, most, max_length, words, dataset_problem(seen, problem), settings, held_out, teacher)


def texts_alone(dataset: Any) -> Any:
    """A data set or stream of texts without its labels, or a dict of them; anything else as it is."""
    if isinstance(dataset, dict):
        return {name: texts_alone(part) for name, part in dataset.items()}
    if not isinstance(dataset, Dataset | IterableDataset) or "text" not in (dataset.column_names or ()):
        return dataset
    labels = [name for name in LABEL_COLUMNS if name in dataset.column_names]
    return dataset.remove_columns(labels) if labels else dataset


def token_lengths(dataset: Any) -> np.ndarray | None:
    """Tokens of each example, or None for data whose length cannot be known beforehand."""
    if not isinstance(dataset, Dataset):
        return None
    if "length" in dataset.column_names:
        return np.concatenate([batch.to_numpy() for batch in column_batches(dataset, "length")])
    if "input_ids" in dataset.column_names:
        batches = column_batches(dataset, "input_ids")
        return np.concatenate([pc.list_value_length(batch).to_numpy() for batch in batches])
    return None


def _label_feature(dataset: Any) -> Any:
    return label_feature(dataset.features) if isinstance(dataset, Dataset) else None
