"""Which columns of the data a model was trained on: kept in its config, so that it is asked of the same ones."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from transformers import PreTrainedConfig

from distilnlp.errors import RequestError

__all__ = ["TrainedColumns", "check_parts", "forget_columns", "remember_columns", "remembered_columns"]

KEY = "distilnlp_columns"
LONGEST_NAME = 1000  # characters
MOST_LABELS = 100_000

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainedColumns:
    """The columns' names in the data that a model was trained on.

    Args:
        text, text_pair: of the texts; ``text_pair`` is None where it reads one text.
        label: of the label, or one for each label; None where it was trained without labels.
    """

    text: str
    text_pair: str | None
    label: str | tuple[str, ...] | None


def remember_columns(config: PreTrainedConfig, columns: TrainedColumns) -> None:
    """Put them into a model's config, which is saved with it as ``distilnlp_columns``."""
    label = list(columns.label) if isinstance(columns.label, tuple) else columns.label
    config.distilnlp_columns = {"text": columns.text, "text_pair": columns.text_pair, "label": label}


def forget_columns(config: PreTrainedConfig) -> None:
    """Take them out of a config, in place, because the model is to be another one."""
    vars(config).pop(KEY, None)


def remembered_columns(config: PreTrainedConfig) -> TrainedColumns | None:
    """What `remember_columns` has put into a config; None, and a warning, for what it would not put there."""
    kept = config.to_dict().get(KEY)
    if kept is None:
        return None
    values = kept if isinstance(kept, Mapping) else {}
    text, text_pair, label = values.get("text"), values.get("text_pair"), values.get("label")
    labels = label if isinstance(label, list) else [] if label is None else [label]
    if (
        not all(_is_name(name) for name in (text, *labels))
        or not (text_pair is None or _is_name(text_pair))
        or len(labels) > MOST_LABELS
        or label == []
        or "label" not in values  # None is said, for texts without labels
    ):
        logger.warning("%s in the model's config is %.80r, which names no columns: it is ignored", KEY, kept)
        return None
    kept_label = tuple(map(str, label)) if isinstance(label, list) else label
    return TrainedColumns(str(text), text_pair, kept_label)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= LONGEST_NAME


def check_parts(columns: TrainedColumns | None, parts: int, name: str) -> None:
    """Whether a model that is asked of single texts, or of pairs, was trained on such; a warning for needless pairs.

    Args:
        columns: the model's; None where it does not tell.
        parts: texts in each example, 1 or 2.
        name: of the model.
    Raises:
        RequestError: the second text is missing.
    """
    if columns is None:
        return
    if columns.text_pair is not None and parts == 1:
        raise RequestError(
            f"{name} was trained on pairs ({columns.text} and {columns.text_pair}) and is asked of single texts: give"
            " the second text of each too (--text-pair)"
        )
    if columns.text_pair is None and parts == 2:
        logger.warning("%s was trained on single texts (%s) and is asked of pairs", name, columns.text)
