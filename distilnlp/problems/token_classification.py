"""A class for each word: entities, or parts of speech."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from distilnlp.errors import RequestError
from distilnlp.problems.base import (
    IGNORED,
    TEACHER_LOGITS,
    Answer,
    Entity,
    Floats,
    LabelColumn,
    Labels,
    Rows,
    class_name,
    register_problem,
    sorted_names,
)
from distilnlp.problems.classification import Classification
from distilnlp.problems.reading import Encoded, Joined, Logits, Reader, Spans, input_columns, word_numbers
from distilnlp.problems.tags import OUTSIDE, Span, count_broken, entities_of, scheme_of, split_tag

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import BatchEncoding, PreTrainedTokenizerBase

__all__ = ["TokenClassification", "WordReader"]

STRIDE = 32  # tokens that two windows of a long text share, where nothing is said
FIRST, ALL = "first", "all"

logger = logging.getLogger(__name__)


@register_problem("token_classification")
@dataclass(frozen=True)
class TokenClassification(Classification):
    """One class a word, out of two or more: a softmax and cross-entropy at the first piece of each word.

    A row of logits is that of a word. A text that is longer than the model takes is read in windows, and each word is
    answered by the window in which it stands farthest from an edge.

    Units: cross-entropy and KL in nats a word; the mean over the words of a text, then over the texts.
    """

    pipeline_tag: ClassVar[str] = "token-classification"
    peft_task_type: ClassVar[str] = "TOKEN_CLS"
    auto_class: ClassVar[str] = "AutoModelForTokenClassification"
    parts: ClassVar[tuple[int, ...]] = (1,)
    lists: ClassVar[tuple[int, ...]] = (0,)
    rows: ClassVar[Rows] = "token"
    label_padding: ClassVar[int | None] = IGNORED
    recipe: ClassVar[str] = "_words.yaml"
    reading: ClassVar[tuple[str, ...]] = ("stride", "pieces")
    metrics: ClassVar[tuple[str, ...]] = ("entity_f1", "entity_precision", "entity_recall", "accuracy")
    accepted_metrics: ClassVar[tuple[str, ...]] = (*metrics, "macro_f1")
    agreement_meaning: ClassVar[str] = (
        "share of words with equal tags; kappa: what of it is not chance (0 is none, 1 all)"
    )

    def metrics_for(self, names: Sequence[str] | None, feature: Any = None) -> tuple[str, ...]:
        """Those of words where the tags stand for no entities, as parts of speech do."""
        return self.metrics if names is None or scheme_of(names) is not None else ("accuracy", "macro_f1")

    # ---- labels in the data ----

    def recognises(self, column: LabelColumn) -> bool:
        """False: it is told by texts that are lists of words (`has_columns`), not by the labels."""
        return False

    def encode(self, column: LabelColumn, train: Labels | None) -> Labels:
        for position, value in enumerate(column.distinct):
            if not isinstance(value, list) or not all(isinstance(each, (str, int, float)) for each in value):
                raise RequestError(
                    f"{column.where}: row {column.row(position)} has {value!r:.60}: {self.name} needs a list with a"
                    " tag for each word, in each row"
                )
        keys = [[class_name(each) for each in value] for value in column.distinct]
        distinct = {key for value in keys for key in value}
        blank = next((i for i, value in enumerate(keys) for key in value if key != key.strip() or not key), None)
        if blank is not None:
            raise RequestError(
                f"{column.where}: row {column.row(blank)} has an empty tag, or one with spaces around it: give each"
                f" word a tag, '{OUTSIDE}' where it is of no entity"
            )
        names = (train.names if train else column.declared) or _tag_names(distinct)
        if train is None and len(names) < 2:
            raise RequestError(f"{column.where}: one tag only ('{next(iter(names), '')}'): at least two are needed")
        known = column.known(keys, names)
        _tell_broken(known, column, scheme_of(names))
        if train is None and all(name.isdigit() for name in names):
            logger.warning(
                "%s: the tags are the numbers %s to %s, so that nobody knows which words are entities: name them with"
                " label_names (--label-names), or they are counted as classes of words",
                column.where,
                names[0],
                names[-1],
            )
        ids = {name: position for position, name in enumerate(names)}
        values = np.empty(len(known), dtype=object)
        for position, tags in enumerate(known):
            values[position] = tuple(ids[tag] for tag in tags)
        return Labels(values[column.codes], names, self)

    def strata(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Which tags a text has."""
        sets = np.empty(len(labels), dtype=object)
        for row, ids in enumerate(labels):
            sets[row] = tuple(sorted({each for each in ids if each >= 0}))
        return sets

    def feature(self, names: Sequence[str] | None) -> Any:
        from datasets import ClassLabel, List

        return List(ClassLabel(names=list(names or ())))

    def has_feature(self, feature: Any) -> bool:
        """False: a list of classes may be several labels of a text too."""
        return False

    def has_columns(self, features: Mapping[str, Any]) -> bool:
        """Texts that are lists of words; or tokens as `distilnlp.data.tokenize` marks them."""
        from datasets import List, Value

        text = features.get("text")
        words = isinstance(text, List) and isinstance(text.feature, Value) and "string" in text.feature.dtype
        return words or "label_mask" in features

    def may_have_columns(self, features: Mapping[str, Any]) -> bool:
        """Also tokens that somebody else has made, with lists of whole numbers as labels."""
        from datasets import ClassLabel, List, Value

        labels = features.get("labels")
        inner = labels.feature if isinstance(labels, List) else None
        whole = isinstance(inner, ClassLabel) or (isinstance(inner, Value) and "int" in inner.dtype)
        return self.has_columns(features) or ("input_ids" in features and whole)

    # ---- from examples to inputs, and back ----

    def reader(self, tokenizer: PreTrainedTokenizerBase, limit: int, settings: Mapping[str, Any]) -> Reader:
        """Settings: ``stride``, the tokens that two windows of a long text share; ``pieces``, ``first`` or ``all``."""
        return WordReader(tokenizer, limit, settings.get("stride"), settings.get("pieces", FIRST))

    def answered_rows(
        self, logits: NDArray[Any], labels: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
        """Those of the tokens with a label; a window counts as a text here."""
        known = labels != IGNORED
        return logits[known], labels[known], np.nonzero(known)[0]

    def shortened(self, rows: Mapping[str, Sequence[Any]], letters: int) -> dict[str, Any]:
        """The first three words, with their tags."""
        lists = [name for name in ("text", "label") if name in rows]
        return {**rows, **{name: [list(value)[:3] for value in rows[name]] for name in lists}}

    def has_labels(self, labels: Tensor) -> bool:
        return not labels.is_floating_point() and labels.ndim == 2

    # ---- from logits to answers ----

    def wrong_probabilities(self, values: Floats) -> tuple[NDArray[np.bool_], str]:
        wrong, _ = super().wrong_probabilities(values)
        return wrong, (
            "probabilities from 0 to 1 whose sum is 1 are needed for each word; for logits say --teacher-values logits"
            " (in a recipe, values: logits)"
        )

    def answers_of_texts(
        self,
        logits: NDArray[Any],
        names: Sequence[str],
        example: NDArray[np.int64],
        spans: Sequence[Spans],
        texts: Sequence[tuple[Any, ...]] = (),
    ) -> list[Answer]:
        rows = self.answers(logits, names)
        entities: list[list[Entity]] = [[] for _ in spans]
        starts = np.searchsorted(example, np.arange(len(spans)))
        is_of_entities = scheme_of(names) is not None
        for text, places in enumerate(spans):
            words = rows[starts[text] : starts[text] + len(places)]
            tags = [word.label for word in words]
            found = entities_of(tags) if is_of_entities else [Span(i, i + 1, tag) for i, tag in enumerate(tags)]
            for one in found:
                sure = float(np.mean([word.probability for word in words[one.start : one.end]]))
                entities[text].append(Entity(places[one.start][0], places[one.end - 1][1], one.type, sure))
        return [Answer(", ".join(f"{e.type}" for e in found), None, {}, tuple(found)) for found in entities]

    def details(
        self,
        decisions: NDArray[Any],
        labels: NDArray[Any],
        examples: NDArray[np.int64],
        names: Sequence[str] | None,
        logits: NDArray[Any],
    ) -> dict[str, float]:
        """F1 of each type of entity, ``entity_f1[person]``."""
        if names is None or scheme_of(names) is None:
            return {}
        types = sorted({split_tag(name)[1] for name in names if name != OUTSIDE})
        counts = {kind: [0, 0, 0] for kind in types}  # found rightly, found, there
        for rows in np.split(np.arange(len(examples)), np.flatnonzero(np.diff(examples)) + 1):
            found, there = (
                set(entities_of([names[int(each)] for each in values[rows]])) for values in (decisions, labels)
            )
            for place, spans in enumerate((found & there, found, there)):
                for span in spans:
                    counts[span.type][place] += 1
        return {
            f"entity_f1[{kind}]": 2 * right / (given + there) if given + there else 0.0
            for kind, (right, given, there) in counts.items()
        }

    def baselines(self, labels: NDArray[Any], rows: int) -> dict[str, NDArray[np.float64]]:
        """The shares of the tags, the largest of which, mostly ``O``, is the decision."""
        ((_, logits),) = super().baselines(labels, rows).items()
        return {"the commonest tag of the training words": logits}

    # ---- the model card ----

    def summary(self, inputs: str, names: Sequence[str]) -> list[str]:
        return [f"Tags the words of {inputs}", *([f"The tags are: {', '.join(names)}."] if names else [])]

    def card_code(self) -> str:
        return (
            "for token, row in zip(tokenizer.convert_ids_to_tokens(inputs.input_ids[0]), logits[0].argmax(-1)):\n"
            "    print(token, model.config.id2label[row.item()])"
        )


class WordReader(Reader):
    """Words of a text, in windows where it is long; the first piece of each word has its label and its logits.

    A text is a list of words, which are joined by spaces and read as one text, or a text as it stands, whose words are
    those of the tokenizer. So a model reads a sentence alike in training and in a pipeline of transformers.

    Args:
        tokenizer: a fast one, which tells where a token stands.
        limit: tokens of a window, special ones included.
        stride: tokens that two windows share; default: 32, or a quarter of a short window.
        pieces: ``first``: losses compare the first piece of each word; ``all``: every piece of it. Labels and answers
            are those of the first piece in both.
    Raises:
        RequestError: a tokenizer in Python, a stride that leaves no room, another word for ``pieces``.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, limit: int, stride: int | None = None, pieces: str = FIRST
    ) -> None:
        super().__init__(tokenizer, limit)
        if not tokenizer.is_fast:
            raise RequestError(
                f"{type(tokenizer).__name__} does not tell where in a text a token stands, which tags of words need:"
                " use a fast tokenizer"
            )
        room = limit - tokenizer.num_special_tokens_to_add()
        self.stride = min(STRIDE, room // 4) if stride is None else stride
        if not 0 <= self.stride < room:
            raise RequestError(
                f"data.stride is {self.stride} and a window has room for {room} tokens: give less", key=["stride"]
            )
        if pieces not in (FIRST, ALL):
            raise RequestError(f"data.pieces is {pieces!r}: give '{FIRST}' or '{ALL}'", key=["pieces"])
        self.pieces = pieces

    def encode(self, rows: Mapping[str, Sequence[Any]], words: bool = False) -> Encoded:
        given = list(rows["text"])
        encoded, spans = self._tokens(given)
        lost = self._without_token(encoded, spans)
        if lost:
            for text, word in lost:  # nothing of it is a token: a sign that nobody sees
                given[text] = [*given[text]]
                given[text][word] = self.tokenizer.unk_token or "?"
            encoded, spans = self._tokens(given)
        example = list(encoded["overflow_to_sample_mapping"])
        taken, masks = self._owned(encoded, example, spans)
        kept = [i for i in range(len(example)) if len(taken[i][0])]
        columns = {name: [values[i] for i in kept] for name, values in input_columns(self.tokenizer, encoded).items()}
        columns["label_mask"] = [masks[i] for i in kept]
        if words:
            columns["words"] = [word_numbers(encoded, i) for i in kept]
        if "label" in rows:
            columns["labels"] = [self._labels(rows["label"][example[i]], *taken[i], len(masks[i])) for i in kept]
        if TEACHER_LOGITS in rows:  # recorded answers: of each token that counts that of its word
            answers = rows[TEACHER_LOGITS]
            columns[TEACHER_LOGITS] = [
                [answers[example[i]][word] for word in self._counted(encoded, i, spans[example[i]], masks[i])]
                for i in kept
            ]
        return Encoded(columns, [example[i] for i in kept], [], [taken[i] for i in kept], spans)

    def join(self, encoded: Encoded, logits: Sequence[Logits]) -> Joined:
        classes = logits[0].shape[-1] if logits else 0  # where no text has a word
        found = [np.zeros((len(spans), classes), dtype=np.float32) for spans in encoded.spans]
        for text, (tokens, words), each in zip(encoded.example, encoded.taken, logits, strict=True):
            found[text][words] = each[tokens]
        return Joined(found, encoded.spans)

    def _tokens(self, texts: Sequence[str | Sequence[str]]) -> tuple[BatchEncoding, list[Spans]]:
        """The tokens of the texts, and where the words stand in each."""
        joined = [text if isinstance(text, str) else " ".join(text) for text in texts]
        encoded = self.tokenizer(
            joined,
            truncation=True,
            max_length=self.limit,
            stride=self.stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            verbose=False,
        )
        spans = [[] if isinstance(text, str) else _word_spans(text) for text in texts]
        for place, text in enumerate(encoded["overflow_to_sample_mapping"]):
            if isinstance(texts[text], str):
                _add_own_words(spans[text], encoded, place, joined[text])
        return encoded, spans

    def _without_token(self, encoded: BatchEncoding, spans: Sequence[Spans]) -> list[tuple[int, int]]:
        """The words of which no token is there, by text and word."""
        seen: list[set[int]] = [set() for _ in spans]
        for place, text in enumerate(encoded["overflow_to_sample_mapping"]):
            seen[text].update(word for word in _words_of_tokens(encoded, place, spans[text]) if word >= 0)
        words = ((text, word) for text, own in enumerate(spans) for word in range(len(own)))
        return [(text, word) for text, word in words if word not in seen[text]]

    def _owned(
        self, encoded: BatchEncoding, example: Sequence[int], spans: Sequence[Spans]
    ) -> tuple[list[tuple[NDArray[np.int64], NDArray[np.int64]]], list[list[int]]]:
        """Of each window the tokens that begin a word that it answers for, with that word, and its ``label_mask``."""
        best: dict[tuple[int, int], tuple[int, int, int]] = {}  # of each word: margin, window, token
        of_tokens = [_words_of_tokens(encoded, place, spans[text]) for place, text in enumerate(example)]
        begun: set[tuple[int, int]] = set()
        for place, text in enumerate(example):
            words = of_tokens[place]
            for token, word in enumerate(words):
                if word < 0 or (token and words[token - 1] == word):
                    continue
                # Where a window begins within a word, its first token there is no first piece.
                start = encoded["offset_mapping"][place][token][0]
                if start > spans[text][word][0] and (text, word) in begun:
                    continue
                begun.add((text, word))
                margin = min(token, len(words) - 1 - token)
                if (text, word) not in best or margin > best[text, word][0]:
                    best[text, word] = (margin, place, token)
        owned: list[list[tuple[int, int]]] = [[] for _ in example]
        for (_, word), (_, place, token) in best.items():
            owned[place].append((token, word))
        taken, masks = [], []
        for place, pairs in enumerate(owned):
            both = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
            tokens, numbers = both[:, 0], both[:, 1]
            mask = np.zeros(len(of_tokens[place]), dtype=np.int64)
            mask[tokens] = 1
            if self.pieces == ALL:
                mask = np.isin(of_tokens[place], numbers).astype(np.int64)
            taken.append((tokens, numbers))
            masks.append(mask.tolist())
        return taken, masks

    @staticmethod
    def _counted(encoded: BatchEncoding, place: int, spans: Spans, mask: Sequence[int]) -> list[int]:
        """The word of each token of a window that the mask holds."""
        words = _words_of_tokens(encoded, place, spans)
        return [word for word, counts in zip(words, mask, strict=True) if counts]

    @staticmethod
    def _labels(tags: Sequence[int], tokens: NDArray[np.int64], words: NDArray[np.int64], length: int) -> list[int]:
        labels = np.full(length, IGNORED)
        labels[tokens] = np.asarray(tags)[words]
        return [int(each) for each in labels]


def _word_spans(words: Sequence[str]) -> Spans:
    ends = np.cumsum([len(word) + 1 for word in words]) - 1
    return [(int(end) - len(word), int(end)) for word, end in zip(words, ends, strict=True)]


def _add_own_words(spans: Spans, encoded: BatchEncoding, place: int, text: str) -> None:
    """Add the words that the tokenizer itself sees in a window to those of the windows before it."""
    numbers, offsets = encoded.word_ids(place), encoded["offset_mapping"][place]
    for number, (start, end) in zip(numbers, offsets, strict=True):
        if number is None or start == end:
            continue
        start += len(text[start:end]) - len(text[start:end].lstrip())  # some count the space in front as the word's
        if number == len(spans):
            spans.append((start, end))
        elif number < len(spans):
            spans[number] = (min(spans[number][0], start), max(spans[number][1], end))
        else:  # signs that are no token lie between
            spans.extend([(start, start)] * (number - len(spans)))
            spans.append((start, end))


def _words_of_tokens(encoded: BatchEncoding, place: int, spans: Spans) -> list[int]:
    """Of each token of a window the word that it is a piece of, by its last letter; -1 for none."""
    ends = np.array([end for _, end in spans])
    found = []
    for (start, end), text in zip(encoded["offset_mapping"][place], encoded.sequence_ids(place), strict=True):
        if text is None or start == end:
            found.append(-1)
            continue
        word = int(np.searchsorted(ends, end))
        found.append(word if word < len(spans) and end > spans[word][0] else -1)
    return found


def _tag_names(names: set[str]) -> tuple[str, ...]:
    """``O`` first, then by type, the beginning of each before its inside."""
    if OUTSIDE not in names:
        return sorted_names(names)
    order = {prefix: place for place, prefix in enumerate("BIES")}
    others = sorted(names - {OUTSIDE}, key=lambda name: (split_tag(name)[1], order[split_tag(name)[0]], name))
    return (OUTSIDE, *others)


def _tell_broken(rows: Sequence[Sequence[str]], column: LabelColumn, scheme: str | None) -> None:
    """Warn of sequences that their scheme does not allow: often a slip of a converter."""
    if scheme is None:
        return
    broken = [position for position, tags in enumerate(rows) if count_broken(tags, scheme)]
    if broken:
        count = sum(int(np.sum(column.codes == position)) for position in broken)
        logger.warning(
            "%s: the tags of %d of %d rows do not follow %s (an entity goes on that has not begun, or does not end),"
            " the first are those of row %d: they are read as conlleval does, such a tag begins an entity",
            column.where,
            count,
            len(column),
            scheme,
            min(column.row(position) for position in broken),
        )
