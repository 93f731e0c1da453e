"""Texts to learn vectors from, whatever else stands beside them; and scored pairs of texts to measure them on."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from datasets import ClassLabel, Dataset, Value
from numpy.typing import NDArray

from distilnlp.data.arrow import column_array, with_label, write_dataset
from distilnlp.data.raw_text import text_batches
from distilnlp.data.split import hold_out
from distilnlp.errors import RequestError

__all__ = ["Texts", "are_scored", "held_out_part", "not_measurable", "scored_pairs", "single_texts"]

logger = logging.getLogger(__name__)

# What the classes of inference say of how alike two texts are; other classes say nothing of it.
LIKENESS = {"entailment": 1.0, "neutral": 0.5, "contradiction": 0.0}


@dataclass(frozen=True)
class Texts:
    """Texts, each once.

    Args:
        rows: the column ``text``.
        notes: what was left out, in words.
    """

    rows: Dataset
    notes: tuple[str, ...]


def single_texts(dataset: Dataset, columns: Sequence[str], where: str, held_out: Dataset | None = None) -> Texts:
    """The texts of some columns, those of a row one after the other; each once, and none that is held out.

    Args:
        dataset, columns, where: as for `distilnlp.data.raw_text.text_batches`.
        held_out: pairs, or texts, that are not to be trained on; None leaves nothing out.
    Raises:
        RequestError: a column that holds no texts; no text that is not empty; texts that are all held out.
    """
    taken = set() if held_out is None else _hashes(held_out, where)
    counts = {"empty": 0, "repeated": 0, "held out": 0}
    seen: set[int] = set()

    def tables() -> Iterator[pa.Table]:
        yield pa.schema([("text", pa.large_string())]).empty_table()
        for texts in text_batches(dataset, columns, where):
            kept = []
            for text in texts:
                number = hash(text)
                reason = (
                    "empty" if not text else "held out" if number in taken else "repeated" if number in seen else None
                )
                if reason is None:
                    seen.add(number)
                    kept.append(text)
                else:
                    counts[reason] += 1
            yield pa.table({"text": pa.array(kept, pa.large_string())})

    found = write_dataset(tables())
    total = sum(counts.values()) + len(found)
    if not len(found):
        why = max(counts, key=lambda reason: counts[reason])
        raise RequestError(f"{where}: none of {total} texts is left to learn from ({counts[why]} are {why})")
    left_out = [f"{count} are {why}" for why, count in counts.items() if count and why != "repeated"]
    notes = (f"of {total} texts {' and '.join(left_out)}: left out",) if left_out else ()
    if notes:
        logger.warning("%s: %s", where, notes[0])
    return Texts(found, notes)


def _hashes(pairs: Dataset, where: str) -> set[int]:
    columns = [name for name in ("text", "text_pair") if name in pairs.column_names]
    return {hash(text) for texts in text_batches(pairs, columns, where) for text in texts}


def held_out_part(texts: Dataset, seed: int, where: str) -> tuple[Dataset, Dataset]:
    """Texts to learn from, and a tenth of them that is held out, without any score.

    Args:
        texts: each once, as `single_texts` gives them.
        seed: of what is held out.
        where: what to call the data in an error.
    Raises:
        RequestError: too few texts to hold any out.
    """
    kept, held_out = hold_out(np.zeros(len(texts), dtype=np.int64), seed, where)
    if len(held_out) < 2:
        raise RequestError(
            f"{where}: {len(texts)} different texts are too few to hold two of them out: give more, or validation= "
            "(--validation)"
        )
    return texts.select(kept, keep_in_memory=True), texts.select(held_out, keep_in_memory=True)


def are_scored(examples: Dataset) -> bool:
    """Whether they are pairs with a score, or with classes of inference, which say how alike two texts are."""
    feature = examples.features.get("label")
    if isinstance(feature, ClassLabel):
        return "text_pair" in examples.column_names and LIKENESS.keys() >= set(feature.names)
    return "text_pair" in examples.column_names and isinstance(feature, Value)


def not_measurable(where: str, what: str = "single texts") -> RequestError:
    """The error for data on which vectors were to be measured, and which are ``what``."""
    return RequestError(
        f"{where}: {what}: vectors are measured on pairs of texts with a score (--text, --text-pair, --label), on"
        " queries with their texts, or on texts and their translations (--text, --translation)"
    )


def scored_pairs(pairs: Dataset, where: str) -> Dataset:
    """Pairs of texts with a number for how alike they are, ``label`` (float32).

    Args:
        pairs: columns ``text``, ``text_pair`` and ``label``: a number, or classes of inference, of which entailment
            is 1, neutral 0.5 and contradiction 0.
        where: what to call the data in an error.
    Raises:
        RequestError: single texts, other classes, scores that are all equal.
    """
    if "text_pair" not in pairs.column_names:
        raise not_measurable(where)
    feature = pairs.features["label"]
    scores: NDArray[np.float64]
    if isinstance(feature, ClassLabel):
        unknown = [name for name in feature.names if name not in LIKENESS]
        if unknown:
            raise RequestError(
                f"{where}: the pairs have the classes {', '.join(feature.names)}, which are no scores: give a number "
                "for how alike the two texts are (stsb has one)"
            )
        scores = np.array([LIKENESS[name] for name in feature.names])[column_array(pairs, "label")]
    elif isinstance(feature, Value):
        scores = column_array(pairs, "label").astype(np.float64)
    else:
        raise RequestError(f"{where}: several labels a pair are no score: give a number for how alike two texts are")
    if len(scores) < 2 or not np.ptp(scores):
        raise RequestError(f"{where}: every score is {scores[0]:g}: there is no order of the pairs to compare with")
    return with_label(pairs.select_columns(["text", "text_pair"]), scores.astype(np.float32), Value("float32"))
