"""A class for each word: entities, or parts of speech."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
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
from distilnlp.problems.reading import (
    Encoded,
    Joined,
    Logits,
    Reader,
    Spans,
    flat_offsets,
    input_columns,
    word_numbers,
)
from distilnlp.problems.tags import OUTSIDE, Span, count_broken, entities_of, scheme_of, split_tag, without_prefix

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
        _check_prefixes(known, column, names)
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
        values = self.check_logits(logits)
        labels = [names[best] for best in values.argmax(axis=1).tolist()]
        probabilities = self.probabilities_of(values.astype(np.float64)).max(axis=1)
        entities: list[list[Entity]] = [[] for _ in spans]
        starts = np.searchsorted(example, np.arange(len(spans)))
        is_of_entities = scheme_of(names) is not None
        for text, places in enumerate(spans):
            words = slice(starts[text], starts[text] + len(places))
            tags, sure = labels[words], probabilities[words]
            found = entities_of(tags) if is_of_entities else [Span(i, i + 1, tag) for i, tag in enumerate(tags)]
            for one in found:
                mean = float(sure[one.start : one.end].mean() if one.end > one.start + 1 else sure[one.start])
                entities[text].append(Entity(places[one.start][0], places[one.end - 1][1], one.type, mean))
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
        """Raises RequestError for a text with fewer labels than words."""
        given = list(rows["text"])
        tokens = self._tokens(given)
        lost = np.flatnonzero(~tokens.has_token())
        if len(lost):
            for text, word in tokens.words.by_text(lost):  # nothing of it is a token: a sign that nobody sees
                given[text] = [*given[text]]
                given[text][word] = self.tokenizer.unk_token or "?"
            tokens = self._tokens(given)
        owned = tokens.owned()
        window, texts = tokens.window[owned], tokens.text[owned]
        numbers = tokens.word[owned] - tokens.words.first[texts]  # counted from the first word of their text
        parts = _split(window, len(tokens.first), owned - tokens.first[window], numbers)
        taken = [(own, of_words) for own, of_words in parts]
        kept = [place for place, (own, _) in enumerate(taken) if len(own)]
        example = [tokens.example[place] for place in kept]

        columns = input_columns(self.tokenizer, tokens.encoded)
        if len(kept) < len(taken):
            columns = {name: [values[place] for place in kept] for name, values in columns.items()}
        mask = tokens.of_words(owned) if self.pieces == ALL else _filled(len(tokens.word), 0, owned, 1)
        columns["label_mask"] = tokens.by_window(mask, kept)
        if words:
            columns["words"] = [word_numbers(tokens.encoded, place) for place in kept]
        if "label" in rows:
            labels = _filled(len(mask), IGNORED, owned, _at(rows["label"], texts, numbers))
            columns["labels"] = tokens.by_window(labels, kept)
        if TEACHER_LOGITS in rows:  # recorded answers: of each token that counts that of its word
            answers = rows[TEACHER_LOGITS]
            counted = np.flatnonzero(mask)
            own = tokens.word[counted] - tokens.words.first[tokens.text[counted]]
            of_windows = _split(tokens.window[counted], len(taken), own)
            columns[TEACHER_LOGITS] = [
                [answers[text][word] for word in of_windows[place][0].tolist()]
                for place, text in zip(kept, example, strict=True)
            ]
        encodings = self.tokens_of(tokens.encoded)
        return Encoded(
            columns,
            example,
            [],
            [taken[place] for place in kept],
            tokens.words.spans(),
            texts=[(text if isinstance(text, str) else " ".join(text),) for text in (given[row] for row in example)],
            tokens=[encodings[place] for place in kept] if encodings else [],
        )

    def join(self, encoded: Encoded, logits: Sequence[Logits]) -> Joined:
        classes = logits[0].shape[-1] if logits else 0  # where no text has a word
        found = [np.zeros((len(spans), classes), dtype=np.float32) for spans in encoded.spans]
        for text, (tokens, words), each in zip(encoded.example, encoded.taken, logits, strict=True):
            found[text][words] = each[tokens]
        return Joined(found, [list(map(tuple, spans.tolist())) for spans in encoded.spans])

    def _tokens(self, texts: Sequence[str | Sequence[str]]) -> _Tokens:
        """The tokens of the texts, and their words."""
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
        places: list[list[int]] = [[] for _ in texts]  # the windows of each text that is a string
        for place, text in enumerate(encoded["overflow_to_sample_mapping"]):
            if isinstance(texts[text], str):
                places[text].append(place)
        if not any(isinstance(text, str) for text in texts):
            return _Tokens(encoded, _Words.given(texts))
        spans = [
            _own_words(encoded, own, text) if isinstance(text, str) else _Words.given([text])
            for text, own in zip(texts, places, strict=True)
        ]
        return _Tokens(encoded, _Words.joined(spans))


@dataclass(frozen=True)
class _Words:
    """The words of several texts, one after the other.

    Shapes:
        start, end: ``(words,)``, where each stands in its text, in characters; the ends of a text do not fall.
        first: ``(texts + 1,)``, the place of each text's first word; how many words there are.
    """

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    first: NDArray[np.int64]

    @classmethod
    def given(cls, texts: Sequence[Sequence[str]]) -> _Words:
        """Those of lists, with a space between two."""
        first = _starts([len(words) for words in texts])
        lengths = np.fromiter(map(len, chain.from_iterable(texts)), dtype=np.int64, count=int(first[-1]))
        past = np.cumsum(lengths + 1)  # where the next word starts, in all texts one after the other
        ends = past - 1 - np.repeat(np.concatenate([[0], past])[first[:-1]], np.diff(first))
        return cls(ends - lengths, ends, first)

    @classmethod
    def joined(cls, parts: Sequence[_Words]) -> _Words:
        """Of several, each of one text."""
        start, end = (np.concatenate([getattr(each, name) for each in parts]) for name in ("start", "end"))
        return cls(start, end, _starts([len(each.start) for each in parts]))

    def by_text(self, words: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Of some words each one's text, and its number there."""
        text = np.searchsorted(self.first, words, side="right") - 1
        return list(zip(text.tolist(), (words - self.first[text]).tolist(), strict=True))

    def spans(self) -> list[NDArray[np.int64]]:
        """Of each text, ``(words, 2)``."""
        both, bounds = np.stack([self.start, self.end], axis=1), self.first.tolist()
        return [both[start:end] for start, end in pairwise(bounds)]


class _Tokens:
    """The tokens of all windows of some texts, one after the other, and the words that they are pieces of.

    Shapes:
        first: ``(windows,)``, the place of each window's first token.
        length: ``(windows,)``.
        window, text, word: ``(tokens,)``, the window and the text that each stands in; the word, by its last letter,
            counted over all texts, -1 for none.
    """

    def __init__(self, encoded: BatchEncoding, words: _Words) -> None:
        self.encoded, self.words = encoded, words
        self.example: list[int] = list(encoded["overflow_to_sample_mapping"])
        offsets = encoded["offset_mapping"]
        lengths = [len(each) for each in offsets]
        bounds = _starts(lengths)
        self.first, self.length = bounds[:-1], np.array(lengths, dtype=np.int64)
        self.window = np.repeat(np.arange(len(lengths)), self.length)
        self.text = np.repeat(np.array(self.example, dtype=np.int64), self.length)
        self.start, end = flat_offsets(offsets, int(bounds[-1])).T
        # One search for all texts: those of each have ends of their own, above the ends of those before it.
        most = 1 + max(int(words.end.max(initial=0)), int(end.max(initial=0)))
        of_words = np.repeat(np.arange(len(words.first) - 1), np.diff(words.first))
        word = np.searchsorted(of_words * most + words.end, self.text * most + end)
        # A special token stands at no letter.
        found = (self.start < end) & (word < words.first[self.text + 1])
        found[found] = end[found] > words.start[word[found]]
        self.word: NDArray[np.int64] = np.where(found, word, -1)

    def has_token(self) -> NDArray[np.bool_]:
        """Of each word."""
        found = np.zeros(len(self.words.end), dtype=np.bool_)
        found[self.word[self.word >= 0]] = True
        return found

    def owned(self) -> NDArray[np.int64]:
        """The tokens that begin a word, in the window that answers for it, in their order."""
        begins = self.word >= 0
        begins[1:] &= (self.word[1:] != self.word[:-1]) | (self.window[1:] != self.window[:-1])
        tokens = np.flatnonzero(begins)
        words = self.word[tokens]
        if (words[1:] > words[:-1]).all():  # no word begins twice
            return tokens
        # Where a window begins within a word, its first token there is no first piece.
        earliest = np.zeros(len(words), dtype=np.bool_)
        earliest[np.unique(words, return_index=True)[1]] = True
        real = earliest | (self.start[tokens] <= self.words.start[words])
        tokens, words = tokens[real], words[real]
        window = self.window[tokens]
        inside = tokens - self.first[window]
        margin = np.minimum(inside, self.length[window] - 1 - inside)
        order = np.lexsort((-margin, words))  # of equal margins the first window's stays first
        best = order[np.diff(words[order], prepend=-1) != 0]
        return np.sort(tokens[best])

    def of_words(self, owned: NDArray[np.int64]) -> NDArray[np.int64]:
        """1 for every piece, in its window, of the words that these tokens begin, else 0."""
        window = np.full(len(self.words.end) + 1, -1)  # of each word, and of none
        window[self.word[owned]] = self.window[owned]
        return np.asarray(window[self.word] == self.window).astype(np.int64)

    def by_window(self, values: NDArray[np.int64], kept: Sequence[int]) -> list[list[int]]:
        """The numbers of the tokens of some windows."""
        flat, first, length = values.tolist(), self.first.tolist(), self.length.tolist()
        return [flat[first[place] : first[place] + length[place]] for place in kept]


def _starts(lengths: Sequence[int]) -> NDArray[np.int64]:
    """Where parts of these lengths begin that stand one after the other, and where the last ends."""
    return np.cumsum([0, *lengths], dtype=np.int64)


def _filled(
    length: int, filling: int, places: NDArray[np.int64], values: NDArray[np.int64] | int
) -> NDArray[np.int64]:
    array = np.full(length, filling, dtype=np.int64)
    array[places] = values
    return array


def _split(windows: NDArray[np.int64], count: int, *values: NDArray[np.int64]) -> list[tuple[NDArray[np.int64], ...]]:
    """The values of each of so many windows; ``windows``: of each value, in their order."""
    bounds = np.searchsorted(windows, np.arange(count + 1)).tolist()
    return [tuple(each[start:end] for each in values) for start, end in pairwise(bounds)]


def _at(labels: Sequence[Sequence[int]], texts: NDArray[np.int64], words: NDArray[np.int64]) -> NDArray[np.int64]:
    """The labels of some words, each by its text and its number there."""
    lengths = [len(each) for each in labels]
    short = texts[words >= np.array(lengths, dtype=np.int64)[texts]]
    if len(short):
        text = int(short[0])
        raise RequestError(
            f"the label {labels[text]!r:.60} has {lengths[text]} tags, fewer than its text has words: give each word"
            " one"
        )
    flat = np.fromiter(chain.from_iterable(labels), dtype=np.int64, count=sum(lengths))
    return np.asarray(flat[_starts(lengths)[texts] + words])


def _own_words(encoded: BatchEncoding, places: Sequence[int], text: str) -> _Words:
    """Those that the tokenizer itself sees in the windows of a text."""
    starts: list[int] = []
    ends: list[int] = []
    for place in places:
        for number, (start, end) in zip(encoded.word_ids(place), encoded["offset_mapping"][place], strict=True):
            if number is None or start == end:
                continue
            if text[start].isspace():  # some count the space in front as the word's
                start = end - len(text[start:end].lstrip())
            if number < len(ends):
                starts[number], ends[number] = min(starts[number], start), max(ends[number], end)
                continue
            between = number - len(ends)  # signs that are no token
            starts.extend([start] * (between + 1))
            ends.extend([*[start] * between, end])
    return _Words(np.array(starts, dtype=np.int64), np.array(ends, dtype=np.int64), _starts([len(starts)]))


def _tag_names(names: set[str]) -> tuple[str, ...]:
    """``O`` first, then by type, the beginning of each before its inside."""
    if OUTSIDE not in names:
        return sorted_names(names)
    order = {prefix: place for place, prefix in enumerate("BIES")}
    others = sorted(names - {OUTSIDE}, key=lambda name: (split_tag(name)[1], order[split_tag(name)[0]], name))
    return (OUTSIDE, *others)


def _check_prefixes(rows: Sequence[Sequence[str]], column: LabelColumn, names: Sequence[str]) -> None:
    """Refuse a tag that would begin entities of its own only because it lacks its prefix."""
    bare = without_prefix(names)
    if not bare:
        return
    found = [(place, tags) for place, tags in enumerate(rows) if bare.intersection(tags)]
    row, tags = min(((column.row(place), tags) for place, tags in found), default=(0, []))
    if not row:
        return
    word, tag = next((word, tag) for word, tag in enumerate(tags, start=1) if tag in bare)
    others = next((name for name in names if name not in bare and name != OUTSIDE), "B-person")
    raise RequestError(
        f"{column.where}: row {row}, word {word} has the tag '{tag}', which is no prefix and type as in '{others}':"
        f" correct it; a word of no entity has '{OUTSIDE}'"
    )


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
