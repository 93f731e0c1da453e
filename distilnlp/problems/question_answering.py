"""The answer to a question, as it stands in a text, or none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distilnlp.errors import RequestError
from distilnlp.problems.answers import best_span, exact_match, token_f1
from distilnlp.problems.base import (
    DECISION_THRESHOLDS,
    Answer,
    Floats,
    LabelColumn,
    Labels,
    Problem,
    Rows,
    check_finite,
    label_feature,
    register_problem,
)
from distilnlp.problems.classification import Classification
from distilnlp.problems.reading import (
    Encoded,
    Held,
    Joined,
    Logits,
    Reader,
    Spans,
    flat_offsets,
    input_columns,
    word_numbers,
)
from distilnlp.problems.thresholds import logit, sigmoid

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import BatchEncoding, PreTrainedTokenizerBase

__all__ = ["AnswerReader", "QuestionAnswering"]

STRIDE = 128  # tokens that two windows of a long context share, where nothing is said
LONGEST = 30  # tokens of an answer
FIRST_WORDS = 10  # of a context, as an answer that reads no question

SURELY = 1e3  # by how much no answer is above one where a context has no token

TEXT, START = "text", "answer_start"  # the parts of a label, as the Hub's data sets of this kind call them


@register_problem("question_answering")
@dataclass(frozen=True)
class QuestionAnswering(Classification):
    """The first and the last token of the answer in a context, or no answer: the token in front of both texts.

    An example has one row of logits, of its best answer: the sum of the logits of its start and end, that of no
    answer, and the logarithm of what both are divided by to be probabilities. A context that is longer than the model
    takes is read in windows; the answer is the best of all of them, and there is none only if no window has one.

    Args:
        thresholds: one number from 0 to below 1: the probability of an answer against none above which it is given;
            None, as 0, always gives one. A model keeps its own in ``config.decision_thresholds``, a list. Two kinds
            that differ in it alone are the same kind.
    Units: cross-entropy and KL in nats for each of start and end; their mean over both, then over the windows.
    Raises:
        RequestError: another threshold.
    """

    thresholds: tuple[float, ...] | None = field(default=None, compare=False)

    pipeline_tag: ClassVar[str] = "question-answering"
    peft_task_type: ClassVar[str] = "QUESTION_ANS"
    auto_class: ClassVar[str] = "AutoModelForQuestionAnswering"
    rows: ClassVar[Rows] = "span"
    takes_other_tokens: ClassVar[bool] = False
    parts: ClassVar[tuple[int, ...]] = (2,)
    named_labels: ClassVar[bool] = False
    card_texts: ClassVar[tuple[str, ...]] = ("A question?", "A text that its answer stands in.")
    card_logits: ClassVar[str] = "torch.stack(model(**inputs).to_tuple(), dim=-1)"
    recipe: ClassVar[str] = "_questions.yaml"
    reading: ClassVar[tuple[str, ...]] = ("stride", "longest_answer")
    metrics: ClassVar[tuple[str, ...]] = ("answer_f1", "exact_match")
    accepted_metrics: ClassVar[tuple[str, ...]] = metrics
    unset_threshold: ClassVar[float] = 0.0
    metrics_in_training: ClassVar[bool] = False
    held_out_by: ClassVar[tuple[str, ...]] = ("text_pair",)
    agreement_meaning: ClassVar[str] = "share of questions with equal answers"
    distance_meaning: ClassVar[str] = "probability; 1 more for another answer"

    def __post_init__(self) -> None:
        given = self.thresholds
        if given is not None and (len(given) != 1 or not isinstance(given[0], (int, float)) or not 0 <= given[0] < 1):
            raise RequestError(
                f"{DECISION_THRESHOLDS} needs one probability from 0 to below 1, above which an answer is given; got"
                f" {given!r:.40}: correct it in the model's config, or remove it, and every question is answered"
            )

    # ---- labels in the data ----

    def recognises(self, column: LabelColumn) -> bool:
        """Objects with ``text`` and ``answer_start``, or lists of such."""
        return any(_is_answers(value) for value in column.distinct)

    def encode(self, column: LabelColumn, train: Labels | None) -> Labels:
        values = np.empty(len(column.distinct), dtype=object)
        for position, value in enumerate(column.distinct):
            values[position] = _answers(value, f"{column.where}: row {column.row(position)}")
        return Labels(values[column.codes], None, self)

    def strata(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Whether a question has an answer."""
        return np.fromiter((len(each) > 0 for each in labels), dtype=np.int64, count=len(labels))

    def contradiction_keys(self, labels: NDArray[Any]) -> NDArray[Any]:
        """Two answers to one question may both be right; an answer and none may not."""
        return self.strata(labels)

    def feature(self, names: Sequence[str] | None) -> Any:
        from datasets import List, Value

        return {TEXT: List(Value("string")), START: List(Value("int32"))}

    def has_feature(self, feature: Any) -> bool:
        return isinstance(feature, Mapping) and {TEXT, START} <= feature.keys()

    def has_columns(self, features: Mapping[str, Any]) -> bool:
        """Answers with their places; or the two positions that `distilnlp.data.tokenize` makes of them."""
        from datasets import List, Value

        label = label_feature(features)
        positions = isinstance(label, List) and label.length == 2 and isinstance(label.feature, Value)
        return self.has_feature(label) or ("input_ids" in features and positions and "int" in label.feature.dtype)

    def may_have_columns(self, features: Mapping[str, Any]) -> bool:
        """Also questions with contexts that nobody has answered."""
        unanswered = label_feature(features) is None and ("text_pair" in features or "input_ids" in features)
        return self.has_columns(features) or unanswered

    def check_examples(self, rows: Mapping[str, Sequence[Any]], first: int, where: str) -> None:
        if "text_pair" not in rows:
            raise RequestError(
                f"{where}: {self.name} needs a question and the context that its answer stands in: name both columns"
                " with text= (--text) and text_pair= (--text-pair)"
            )
        labels = rows.get("label", [{TEXT: [], START: []}] * len(rows["text"]))
        for number, (context, label) in enumerate(zip(rows["text_pair"], labels, strict=True), start=first):
            for text, start in zip(label[TEXT], label[START], strict=True):
                _check_place(text, start, context, f"{where}: row {number}")

    # ---- from examples to inputs, and back ----

    def reader(self, tokenizer: PreTrainedTokenizerBase, limit: int, settings: Mapping[str, Any]) -> Reader:
        """Settings: ``stride``, the tokens that two windows share; ``longest_answer``, in tokens."""
        return AnswerReader(tokenizer, limit, settings.get("stride"), settings.get("longest_answer", LONGEST))

    def shortened(self, rows: Mapping[str, Sequence[Any]], letters: int) -> dict[str, Any]:
        """The first letters of question and context, and no answer."""
        short = super().shortened(rows, letters)
        return {**short, "label": [{TEXT: [], START: []} for _ in rows["text"]]} if "label" in rows else short

    # ---- the model ----

    def num_logits(self, names: Sequence[str] | None) -> int:
        return 2

    def config_settings(self, names: Sequence[str] | None) -> dict[str, Any]:
        return {"problem_type": self.name, "num_labels": 2}

    def of_config(self, config: Any) -> QuestionAnswering:
        thresholds = getattr(config, DECISION_THRESHOLDS, None)
        if thresholds is not None and not isinstance(thresholds, (list, tuple)):
            raise RequestError(
                f"{DECISION_THRESHOLDS} in the model's config is {thresholds!r:.40}: a list of one probability is"
                " needed"
            )
        return self.decided_by(thresholds)

    def decided_by(self, thresholds: Sequence[float] | None) -> QuestionAnswering:
        return replace(self, thresholds=None if thresholds is None else tuple(thresholds))

    def has_labels(self, labels: Tensor) -> bool:
        return not labels.is_floating_point() and labels.ndim == 2 and labels.shape[1] == 2

    # ---- from logits to answers ----

    def check_logits(self, logits: ArrayLike) -> NDArray[Any]:
        values = np.asarray(logits)
        if values.ndim != 2 or values.shape[1] != 3:
            raise RequestError(
                f"{self.name} needs logits of shape (examples, 3): an answer, none, and their total; got"
                f" {np.shape(logits)}"
            )
        check_finite(values)
        return values

    def decide(self, logits: ArrayLike) -> NDArray[Any]:
        """1 where the answer is given, 0 where there is said to be none, ``(examples,)``."""
        values = self.check_logits(logits).astype(np.float64)
        threshold = self.thresholds[0] if self.thresholds else self.unset_threshold
        given = np.ones(len(values), dtype=bool) if threshold == 0 else values[:, 0] - values[:, 1] > logit(threshold)
        return given.astype(np.int64)

    def decisions(self, logits: ArrayLike, found: Sequence[str] | NDArray[Any] | None) -> NDArray[Any]:
        """The answers, ``(examples,)`` of str; empty where there is said to be none."""
        if found is None:
            raise RequestError(f"{self.name} needs the answers that the logits are of: give found=")
        texts = np.empty(len(found), dtype=object)
        texts[:] = [text if given else "" for text, given in zip(found, self.decide(logits), strict=True)]
        return texts

    def decision_array(self, values: Any, which: str) -> NDArray[Any]:
        """Answers, or tuples of the right ones, ``(examples,)`` of object."""
        array = np.empty(len(values), dtype=object)
        array[:] = list(values)
        needed = str if which == "predictions" else tuple
        wrong = next((each for each in array if not isinstance(each, needed)), None)
        if wrong is not None:
            raise RequestError(f"the {which} must be of type {needed.__name__}, one an example; got {wrong!r:.60}")
        return array

    def choose_thresholds_of(
        self, logits: ArrayLike, found: Sequence[str] | None, labels: NDArray[Any], *, one: bool = False
    ) -> tuple[float, ...]:
        """The threshold that gives the best F1; of several that do, the one in the middle of the widest gap.

        Source: Rajpurkar et al. 2018, arXiv:1806.03822: the evaluation script of SQuAD 2.0 looks for it likewise.
        """
        values = self.check_logits(logits).astype(np.float64)
        if found is None or not len(found) == len(labels) == len(values) > 0:
            raise RequestError("thresholds are chosen on an answer, and the right ones, for each row: give found=")
        return (_best_threshold(values[:, 0] - values[:, 1], found, labels),)

    def wants_thresholds(self, labels: Callable[[], NDArray[Any]]) -> bool:
        """Where some questions have no answer."""
        return not all(len(each) for each in labels())

    def answers(self, logits: ArrayLike, names: Sequence[str]) -> list[Answer]:
        """Whether there is an answer, without its text."""
        values = self.check_logits(logits)
        return [
            Answer("answer" if given else "", self._probability(row, given), {})
            for row, given in zip(values.astype(np.float64), self.decide(values), strict=True)
        ]

    def answers_of_texts(
        self,
        logits: NDArray[Any],
        names: Sequence[str],
        example: NDArray[np.int64],
        spans: Sequence[Spans],
        texts: Sequence[tuple[Any, ...]] = (),
    ) -> list[Answer]:
        """The text of each answer, and where it stands in the context."""
        found = []
        for answer, ((start, end),), (_, context) in zip(self.answers(logits, names), spans, texts, strict=True):
            place = (start, end) if answer.label else (0, 0)
            found.append(replace(answer, label=context[slice(*place)], place=place))
        return found

    @staticmethod
    def _probability(row: Floats, given: int) -> float:
        return float(np.exp(min(0.0, row[0 if given else 1] - row[2])))

    def found(self, texts: Sequence[tuple[Any, ...]], spans: Sequence[Spans]) -> list[str] | None:
        return [context[start:end] for (_, context), ((start, end),) in zip(texts, spans, strict=True)]

    def details(
        self,
        decisions: NDArray[Any],
        labels: NDArray[Any],
        examples: NDArray[np.int64],
        names: Sequence[str] | None,
        logits: NDArray[Any],
    ) -> dict[str, float]:
        """F1 of the questions with an answer and of those without one, where there are both."""
        answerable = self.strata(labels).astype(bool)
        if answerable.all() or not answerable.any():
            return {}
        f1 = np.array([token_f1(answer, gold) for answer, gold in zip(decisions, labels, strict=True)])
        return {
            "answer_f1[answerable]": float(f1[answerable].mean()),
            "answer_f1[unanswerable]": float(f1[~answerable].mean()),
        }

    def check_decisions(self, values: Floats, which: str) -> None:
        """Nothing: `decision_array` has looked."""

    def agreement(
        self,
        student: Floats,
        teacher: Floats,
        teachers: Problem | None = None,
        examples: NDArray[np.int64] | None = None,
    ) -> dict[str, float]:
        """The share of questions where both give an answer, or none; `agreement_of` compares the answers."""
        same = self.decide(student) == (teachers or self).decide(teacher)
        return {"agreement": float(np.mean(same)), "mae": float(_apart(student, teacher).mean())}

    def agreement_of(
        self,
        student: Floats,
        teacher: Floats,
        found: tuple[Sequence[str], Sequence[str]] | None,
        teachers: Problem | None = None,
        examples: NDArray[np.int64] | None = None,
    ) -> dict[str, float]:
        """The share of equal answers, their mean F1 with the teacher's, and a distance between probabilities.

        ``mae``: the mean absolute difference of the probabilities of the best answers.
        """
        if found is None:
            return self.agreement(student, teacher, teachers)
        own = self.decisions(student, found[0])
        theirs = (teachers or self).decisions(teacher, found[1])
        pairs = list(zip(own, theirs, strict=True))
        return {
            "agreement": float(np.mean([exact_match(a, [b]) for a, b in pairs])),
            "answer_f1": float(np.mean([token_f1(a, [b]) for a, b in pairs])),
            "mae": float(_apart(student, teacher).mean()),
        }

    def distances(self, student: Floats, teacher: Floats, examples: NDArray[np.int64]) -> Floats:
        """How far apart the probabilities of the best answers are."""
        return _apart(student, teacher)

    def baselines(self, labels: NDArray[Any], rows: int) -> dict[str, Floats]:
        return {"no answer": np.tile([0.0, 1.0, 2.0], (rows, 1))}

    def baseline_decisions(
        self, labels: NDArray[Any], texts: Sequence[tuple[Any, ...]]
    ) -> dict[str, NDArray[Any]] | None:
        """No answer, the commonest answer of the training rows, and the first words of each context."""
        given = Counter(answer for answers in labels for answer in answers[:1])
        commonest = min(given, key=lambda answer: (-given[answer], answer)) if given else ""
        words = [" ".join(context.split()[:FIRST_WORDS]) for _, context in texts]
        return {
            "no answer": _texts([""] * len(texts)),
            "the commonest answer of the training rows": _texts([commonest] * len(texts)),
            f"the first {FIRST_WORDS} words of the context": _texts(words),
        }

    # ---- the model card ----

    def summary(self, inputs: str, names: Sequence[str]) -> list[str]:
        return [f"Reads {inputs}, a question and its context, and finds the answer in the context"]

    def card_code(self) -> str:
        return f"""start, end = logits[0].unbind(-1)
place = torch.arange(len(start))
context = torch.tensor([text == 1 for text in inputs.sequence_ids(0)])
allowed = (place >= place[:, None]) & (place < place[:, None] + {LONGEST}) & context & context[:, None]
scores = (start[:, None] + end).masked_fill(~allowed, -1e9)
first, last = divmod(scores.argmax().item(), len(start))
# An answer is given above the probability that the config has for it; without one, always.
threshold = (getattr(model.config, "{DECISION_THRESHOLDS}", None) or [0.0])[0]
given = (scores.max() - start[0] - end[0]).sigmoid().item() > threshold
print(tokenizer.decode(inputs.input_ids[0, first : last + 1]) if given or threshold == 0 else "(no answer)")"""


class AnswerReader(Reader):
    """A question with its context, in windows where that is long; the label is the first and the last token.

    A question is kept whole in each window, as long as it takes half of it at most. The label of a window that the
    answer does not stand in is the token for no answer, as that of a question without one.

    Args:
        tokenizer: a fast one, which tells where a token stands.
        limit: tokens of a window, special ones included.
        stride: tokens of the context that two windows share; default: 128, or a quarter of a short window.
        longest: tokens of an answer.
    Raises:
        RequestError: a tokenizer in Python, or one that pads on the left; a stride that leaves no room.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, limit: int, stride: int | None = None, longest: int = LONGEST
    ) -> None:
        super().__init__(tokenizer, limit)
        if not tokenizer.is_fast:
            raise RequestError(
                f"{type(tokenizer).__name__} does not tell where in a text a token stands, which answers need: use a"
                " fast tokenizer"
            )
        if tokenizer.padding_side != "right":
            raise RequestError(
                "answers are counted from the first token: pad on the right (tokenizer.padding_side = 'right')"
            )
        if longest < 1:
            raise RequestError(f"data.longest_answer is {longest}: give 1 token or more", key=["longest_answer"])
        self.longest = longest
        room = limit - tokenizer.num_special_tokens_to_add(pair=True)
        self.question = max(1, room // 2)  # tokens at most
        least = max(1, room - self.question)  # that a window has for its context
        self.stride = min(STRIDE, least // 2) if stride is None else stride
        if not 0 <= self.stride < least:
            raise RequestError(
                f"data.stride is {self.stride} and a window may have room for {least} tokens of the context: give"
                " less",
                key=["stride"],
            )

    def labels_feature(self, feature: Any) -> Any:
        from datasets import List, Value

        return List(Value("int32"), length=2)

    def encode(self, rows: Mapping[str, Sequence[Any]], words: bool = False) -> Encoded:
        questions, cut = self._questions(rows["text"])
        encoded = self.tokenizer(
            questions,
            list(rows["text_pair"]),
            truncation="only_second",
            max_length=self.limit,
            stride=self.stride,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            verbose=False,
        )
        example = list(encoded["overflow_to_sample_mapping"])
        columns = input_columns(self.tokenizer, encoded)
        taken = [self._context(encoded, place) for place in range(len(example))]
        if words:
            columns["words"] = [word_numbers(encoded, i) for i in range(len(example))]
        held = Held()
        if "label" in rows:
            columns["labels"] = [
                self._positions(rows["label"][row], *each) for row, each in zip(example, taken, strict=True)
            ]
            held = self._held(rows["label"], example, taken, columns["labels"])
        return Encoded(columns, example, cut, taken, held=held)

    def join(self, encoded: Encoded, logits: Sequence[Logits]) -> Joined:
        count = encoded.example[-1] + 1
        rows, none = np.full((count, 3), -np.inf), np.full(count, np.inf)
        spans: list[Spans] = [[(0, 0)] for _ in range(count)]
        for text, (tokens, offsets), each in zip(encoded.example, encoded.taken, logits, strict=True):
            null = each[tokens[0]].astype(np.float64)
            none[text] = min(none[text], null.sum())
            found = best_span(each[tokens[1:]].astype(np.float64), null, self.longest)
            if found is not None and not found.score <= rows[text, 0]:  # what is no number is seen later
                rows[text] = found.score, null.sum(), found.total
                spans[text] = [(int(offsets[found.first + 1][0]), int(offsets[found.last + 1][1]))]
        empty = np.isneginf(rows[:, 0])  # a context without a token
        rows[empty] = np.stack([none - SURELY, none, none], axis=1)[empty]
        rows[:, 1] = none
        return Joined(list(rows.astype(np.float32)[:, None]), spans)

    def _questions(self, questions: Sequence[str]) -> tuple[list[str], list[int]]:
        """The questions as far as they have room, and which of them lose their end."""
        kept: list[str] = list(questions)
        cut: list[int] = []
        # Each token has a letter of its own, but for one in front; letters beyond ASCII may become several tokens.
        long = [row for row, each in enumerate(kept) if len(each) >= self.question or not each.isascii()]
        if not long:
            return kept, cut
        whole = self.tokenizer(
            [kept[row] for row in long],
            add_special_tokens=False,
            truncation=False,
            return_offsets_mapping=True,
            verbose=False,
        )
        for row, ids, offsets in zip(long, whole["input_ids"], whole["offset_mapping"], strict=True):
            if len(ids) > self.question:
                cut.append(row)
                kept[row] = kept[row][: offsets[self.question - 1][1]]
        return kept, cut

    def _context(self, encoded: BatchEncoding, place: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The tokens of a window that an answer can stand in, behind that for none, and where each stands."""
        texts = encoded.sequence_ids(place)
        count = texts.count(1)  # they stand side by side
        first = texts.index(1) if count else 0
        offsets = np.zeros((count + 1, 2), dtype=np.int64)
        offsets[1:] = flat_offsets([encoded["offset_mapping"][place][first : first + count]], count)
        tokens = np.arange(first - 1, first + count)
        tokens[0] = self._none(encoded["input_ids"][place])
        real = offsets[:, 1] > offsets[:, 0]
        real[0] = True
        return (tokens, offsets) if real.all() else (tokens[real], offsets[real])

    def _held(
        self,
        labels: Sequence[Mapping[str, Sequence[Any]]],
        example: Sequence[int],
        taken: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
        positions: Sequence[Sequence[int]],
    ) -> Held:
        lengths: dict[int, int] = {}  # of each example of which a window holds the answer, its tokens
        for row, (tokens, _), (first, last) in zip(example, taken, positions, strict=True):
            if first != tokens[0]:
                lengths[row] = max(lengths.get(row, 0), last - first + 1)
        answered = sum(bool(label[TEXT]) for label in labels)
        too_long = sum(length > self.longest for length in lengths.values())
        return Held(answered, answered - len(lengths), too_long)

    def _none(self, ids: Sequence[int]) -> int:
        """Where the token stands that means no answer: the one for the whole text, else the first."""
        token = self.tokenizer.cls_token_id
        return ids.index(token) if token in ids else 0

    @staticmethod
    def _positions(
        label: Mapping[str, Sequence[Any]], tokens: NDArray[np.int64], offsets: NDArray[np.int64]
    ) -> list[int]:
        """The first and the last token of the first answer that stands in a window whole; else that for none."""
        starts, ends = offsets[1:, 0], offsets[1:, 1]
        for text, start in zip(label[TEXT], label[START], strict=True):
            end = start + len(text)
            if len(starts) and starts[0] <= start and end <= ends[-1]:
                first, last = int(ends.searchsorted(start, "right")), int(starts.searchsorted(end)) - 1
                if first <= last:
                    return [int(tokens[first + 1]), int(tokens[last + 1])]
        return [int(tokens[0])] * 2


def _texts(values: Sequence[str]) -> NDArray[Any]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _apart(student: Floats, teacher: Floats) -> Floats:
    """How far apart the probabilities of the best answers are, of each row."""
    own, theirs = (np.exp(np.minimum(0.0, values[:, 0] - values[:, 2])) for values in (student, teacher))
    return np.asarray(np.abs(own - theirs))


def _best_threshold(margins: Floats, found: Sequence[str], labels: NDArray[Any]) -> float:
    gains = np.array(
        [token_f1(text, gold) - token_f1("", gold) for text, gold in zip(found, labels, strict=True)], dtype=np.float64
    )
    order = np.argsort(-margins, kind="stable")
    ranked = margins[order]
    sums = np.concatenate([[0.0], np.cumsum(gains[order])])  # of the F1, with so many of the surest answers given
    cuts = np.concatenate([[True], np.diff(ranked) != 0, [True]])  # equal margins are given together
    best = [count for count in np.flatnonzero(cuts) if np.isclose(sums[count], sums[cuts].max())]
    edges = np.concatenate([[ranked[0] + 2.0], ranked, [ranked[-1] - 2.0]])
    count = max(best, key=lambda each: (edges[each] - edges[each + 1], each))
    middle = (edges[count] + edges[count + 1]) / 2
    return float(np.clip(sigmoid(np.array([middle]))[0], 1e-6, 1 - 1e-6))


def _is_answers(value: object) -> bool:
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, Mapping) and {TEXT, START} <= first.keys()


def _answers(value: object, where: str) -> tuple[tuple[str, int], ...]:
    """The answers of a row, each with its place: ``{text: [...], answer_start: [...]}``, or a list of objects."""
    needed = f"answers with {TEXT} and {START} are needed, empty lists where there is none"
    parts = value if isinstance(value, list) else [value]
    found: list[tuple[str, int]] = []
    for part in parts:
        if not isinstance(part, Mapping) or not {TEXT, START} <= part.keys():
            raise RequestError(f"{where} has {value!r:.60}: {needed}")
        texts, starts = (
            each if isinstance(each, list) else [] if each is None else [each] for each in (part[TEXT], part[START])
        )
        if len(texts) != len(starts):
            raise RequestError(f"{where} has {len(texts)} answers and {len(starts)} places: {needed}")
        for text, start in zip(texts, starts, strict=True):
            whole = isinstance(start, (int, float)) and not isinstance(start, bool) and start == start // 1
            if not isinstance(text, str) or not whole:
                raise RequestError(f"{where} has the answer {text!r:.60} at {start!r:.20}: {needed}")
            if text.strip():
                found.append((text, int(start)))
    return tuple(found)


def _check_place(text: str, start: int, context: str, where: str) -> None:
    if not 0 <= start <= len(context) - len(text):
        raise RequestError(
            f"{where}: the answer {text!r:.60} is said to stand at {start}, past the context, which has"
            f" {len(context)} characters: correct its place (from 0, in characters)"
        )
    if context[start : start + len(text)] != text:
        place = context.find(text)
        hint = f"it stands at {place}" if place >= 0 else "the context does not have it"
        other = context[start : start + len(text)]
        raise RequestError(
            f"{where}: the answer {text!r:.60} does not stand at {start}, where {other!r:.60} is: {hint}; correct its"
            " place (from 0, in characters)"
        )
