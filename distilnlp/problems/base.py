"""What a problem is: everything that depends on the kind of task, in one class a kind; and the registry of kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from distilnlp.errors import RequestError, RunError, unknown
from distilnlp.label_names import find_name
from distilnlp.problems.reading import Reader, Spans, text_reader
from distilnlp.problems.written import DECIMAL, NumberStyle, number_style

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

__all__ = [
    "ALIGNMENT",
    "DECISION_THRESHOLDS",
    "IGNORED",
    "LABEL_COLUMNS",
    "LEAST_PROBABILITY",
    "TEACHER_ALIGNMENT",
    "TEACHER_LOGITS",
    "TEACHER_TEXT",
    "Answer",
    "Entity",
    "LabelColumn",
    "Labels",
    "Problem",
    "Rows",
    "beyond_chance",
    "class_name",
    "find_problem",
    "get_problem",
    "label_feature",
    "label_settings",
    "list_problems",
    "problem_of_columns",
    "problem_of_config",
    "problem_of_head",
    "problem_of_labels",
    "problem_of_queries",
    "problem_of_vectors",
    "register_problem",
    "sorted_names",
    "to_number",
]

Floats = NDArray[np.float64]

# The field of a model's config that holds the probability above which each label holds, in the order of the logits.
DECISION_THRESHOLDS = "decision_thresholds"

# The column of a data set and of a batch that holds the recorded answers of a teacher.
TEACHER_LOGITS = "teacher_logits"

# The column of a data set that holds the text which the teacher reads in place of the student's: what a translation
# was made of.
TEACHER_TEXT = "teacher_text"

# The columns of tokenised data and of a batch that say which of the pieces of text that both models cut alike a token
# is of, from 0, below 0 for none: of the student's tokens, and of those of a teacher that reads others.
ALIGNMENT = "alignment"
TEACHER_ALIGNMENT = f"teacher_{ALIGNMENT}"

# The label of a row or a token that has none, which no loss of PyTorch counts; Trainer fills lists up with it too.
IGNORED = -100

# What a recorded probability of 0 counts as: a logarithm has to be finite.
LEAST_PROBABILITY = 1e-8

# What one row of classes stands for: a text, a token, the start and the end of an answer among a text's tokens, or a
# query, whose classes are its texts.
Rows = Literal["text", "token", "span", "list"]

LABEL_COLUMNS = ("label", "labels", "label_ids")  # what a label column may be called in a data set

MISSING = ("nan", "na", "n/a", "<na>", "null")  # as tools write it into a column of numbers


@dataclass(frozen=True)
class LabelColumn:
    """A label column by its distinct values, so that what is looked at in Python does not grow with the rows.

    Args:
        distinct: in the order in which they first occur: str, int, float, None, or a list.
        codes: ``(rows,)``, each row's position in ``distinct``.
        declared: the class names that the data declare (``ClassLabel``), or None.
        where: the file (or data set) and column, for messages.
    """

    distinct: list[Any]
    codes: NDArray[np.int32]
    declared: tuple[str, ...] | None
    where: str

    @classmethod
    def of(cls, values: Iterable[object], declared: tuple[str, ...] | None, where: str) -> LabelColumn:
        """Of the values, as str, int, float, None, or a list or another container."""
        distinct: list[object] = []
        known: dict[object, int] = {}

        def code(value: object) -> int:
            key = value if value is None or isinstance(value, (str, int, float)) else repr(value)
            if key not in known:
                known[key] = len(distinct)
                distinct.append(value)
            return known[key]

        codes = np.fromiter((code(value) for value in values), dtype=np.int32)
        return cls(distinct, codes, declared, where)

    def __len__(self) -> int:
        return len(self.codes)

    def row(self, position: int) -> int:
        """The first row, counted from 1, that has a distinct value."""
        return int(np.argmax(self.codes == position)) + 1

    @cached_property
    def style(self) -> NumberStyle | None:
        """How its numbers are written; None where it holds something else.

        Raises:
            RequestError: numbers that are written in two ways, or can be read in two ways.
        """
        return number_style(self.distinct, self.row, self.where)

    def known(self, keys: Sequence[Sequence[str]], names: Sequence[str]) -> list[list[str]]:
        """The labels of each distinct value as the training data spell them.

        Args:
            keys: the labels of each distinct value.
            names: the labels of the training data.
        Raises:
            RequestError: a label that the training data do not have.
        """
        spelt = {name: name for name in names}
        for position, labels in enumerate(keys):
            for name in labels:
                meant = spelt.get(name) or find_name(name, names)
                if meant is None:
                    kind = f"label in row {self.row(position)} of {self.where}, not in the training data:"
                    raise unknown(kind, name, names)
                spelt[name] = meant
        return [[spelt[name] for name in labels] for labels in keys]


@dataclass(frozen=True)
class Labels:
    """A label column, understood.

    Args:
        values: class ids ``(rows,)`` int64, targets ``(rows,)`` float64, or, of several labels
            a text, the ids of those that hold, tuples in order, ``(rows,)`` object.
        names: class names, position = id; None where the problem has none (regression).
        problem: the kind of task.
        style: how targets are written in the column; None where it holds something else.
    """

    values: NDArray[Any]
    names: tuple[str, ...] | None
    problem: Problem
    style: NumberStyle | None = None

    @property
    def feature(self) -> Any:
        """The column's type in a raw data set (a feature of `datasets`)."""
        return self.problem.feature(self.names)


@dataclass(frozen=True)
class Entity:
    """A stretch of a text with a name.

    Args:
        start, end: where it stands, in characters; the last is excluded.
        type: of the entity, or the tag of a word.
        probability: the mean over its words.
    """

    start: int
    end: int
    type: str
    probability: float


@dataclass(frozen=True)
class Answer:
    """What a model's logits say of one text.

    Args:
        label: the class; several joined by commas where there are several; the number of a regression; the types of
            the entities.
        probability: of the class; None where there are several labels, or a number.
        probabilities: of every class; empty for a regression.
        entities: in their order, where the kind finds some; else None.
        scores: of each text of a query, in their order, where the kind ranks them; else None.
        blanks: of each blank in the text the likeliest tokens with their probabilities, where the kind fills blanks;
            else None.
        place: where the answer stands in its context, in characters, the last excluded; 0 and 0 where there is none.
            None of a kind whose answers stand in no text.
    """

    label: str
    probability: float | None
    probabilities: dict[str, float]
    entities: tuple[Entity, ...] | None = None
    scores: tuple[float, ...] | None = None
    blanks: tuple[dict[str, float], ...] | None = None
    place: tuple[int, int] | None = None


@dataclass(frozen=True)
class Problem:
    """Base of all kinds of task. A kind is a class in a file of its own, registered under the name that configs use.

    Nothing outside this folder compares a problem by its name: the object has what differs between kinds.

    Class attributes:
        name: the registry's name: ``config.problem_type`` of transformers.
        pipeline_tag: the Hub's name of the task, on model cards.
        library: that loads a saved model, as the Hub calls it.
        peft_task_type: of `peft.TaskType`.
        auto_class: the class of transformers that loads a model with the head.
        parts: how many texts an example may have: one, two (a pair), or either.
        lists: the places of those, from 0, that may be lists of texts: words, or the texts of a query.
        rows: what a row of classes in the logits stands for. Of tokens an example has several rows, and a label for
            each; a list is an example that is a query with several texts, each with a label and a row of its own.
        named_labels: whether its labels have names.
        several_labels: whether a text has a decision for each label, and not one in all.
        labels_itself: whether the texts are their own labels, so that their data have none.
        of_data: whether data can be of this kind; not so of a model of several tasks, whose data are of one each.
        exclusive_classes: whether exactly one of the classes is right, so that a softmax over them means something.
        vectors: whether what a model gives for a text is its vector.
        taught_alone: whether it is learned from a teacher's answers to texts alone, whose labels nobody reads.
        takes_other_tokens: whether a teacher may read other tokens than the student, as it may where the rows of
            logits are those of texts or of words, whatever the tokens.
        apart: whether a model reads the texts of an example one by one, so that its rows of logits are made of what it
            gives for several inputs (`scored`).
        label_padding: what stands for the label of a padded token; None where labels are not by token.
        response_loss: the registered loss between two models' logits that fits.
        recipe: the shipped recipe that the command line's options change.
        reading: the settings of `reader`, as a recipe's ``data`` calls them.
        no_label: what stands in the label column of a row that has none; None in rows of lists.
        metrics: names of the metrics for the user's own data, the main one first.
        unset_threshold: what every threshold is where a model has none of its own.
        metrics_in_training: whether they can be told from a padded batch of logits and labels, without the texts.
        accepted_metrics: all that fit (see `distilnlp.report.scores.SCORES`, which knows whether higher is better).
        held_out_by: columns whose equal rows are held out together, where there are enough different ones.
        card_text: the text that the code in the model card reads, as Python.
        card_texts: of a pair the two texts, as they are.
        card_logits: Python that gives the logits there, of ``model`` and ``inputs``.
        agreement_meaning: what `agreement` counts, in words.
        distance_meaning: what `distances` gives, in a word or two.
    """

    name: ClassVar[str] = ""
    pipeline_tag: ClassVar[str] = "text-classification"
    library: ClassVar[str] = "transformers"
    peft_task_type: ClassVar[str] = "SEQ_CLS"
    auto_class: ClassVar[str] = "AutoModelForSequenceClassification"
    parts: ClassVar[tuple[int, ...]] = (1, 2)
    lists: ClassVar[tuple[int, ...]] = ()
    rows: ClassVar[Rows] = "text"
    named_labels: ClassVar[bool] = True
    several_labels: ClassVar[bool] = False
    labels_itself: ClassVar[bool] = False
    of_data: ClassVar[bool] = True
    exclusive_classes: ClassVar[bool] = False
    vectors: ClassVar[bool] = False
    taught_alone: ClassVar[bool] = False
    takes_other_tokens: ClassVar[bool] = True
    apart: ClassVar[bool] = False
    label_padding: ClassVar[int | None] = None
    response_loss: ClassVar[str] = ""
    recipe: ClassVar[str] = "glue/_base.yaml"
    reading: ClassVar[tuple[str, ...]] = ("long", "join", "stride")
    no_label: ClassVar[float | None] = IGNORED
    metrics: ClassVar[tuple[str, ...]] = ()
    accepted_metrics: ClassVar[tuple[str, ...]] = ()
    unset_threshold: ClassVar[float] = 0.5
    metrics_in_training: ClassVar[bool] = True
    held_out_by: ClassVar[tuple[str, ...]] = ("text", "text_pair")
    card_text: ClassVar[str] = '"A text."'
    card_texts: ClassVar[tuple[str, ...]] = ("A first text.", "A second text.")
    card_logits: ClassVar[str] = "model(**inputs).logits"
    agreement_meaning: ClassVar[str] = "share of equal answers; kappa: what of it is not chance (0 is none, 1 all)"
    distance_meaning: ClassVar[str] = "difference"

    @property
    def labelled_as(self) -> str:
        """The kind whose labels its data have, so that models of both kinds can be measured on the same."""
        return self.name

    @property
    def main_metric(self) -> str:
        """The metric that a run on the user's own data is judged by."""
        return self.metrics[0]

    def metrics_for(self, names: Sequence[str] | None, feature: Any = None) -> tuple[str, ...]:
        """The metrics that a run on data with these labels is told by, the main one first.

        Args:
            names: of the labels; None where they have none, or are not known.
            feature: the type of the held-out labels (a feature of `datasets`); None where there are none.
        """
        return self.metrics

    # ---- labels in the data ----

    def recognises(self, column: LabelColumn) -> bool:
        """Whether a label column that nobody described looks like this kind.

        Called from the last registered kind to the first, which takes what no other one does.

        Raises:
            RequestError: it may be meant, and something in the column makes that doubtful.
        """
        return False

    def encode(self, column: LabelColumn, train: Labels | None) -> Labels:
        """The labels as numbers.

        Args:
            column: complete: no value is missing.
            train: the labels of the training split, where this is the validation split: names are taken from it.
        Raises:
            RequestError: labels that this kind cannot have, that are not in the training split, or that leave nothing
                to learn.
        """
        raise NotImplementedError

    def strata(self, labels: NDArray[Any]) -> NDArray[Any]:
        """What a held-out part is to have the same shares of, ``(examples,)``, of labels as `encode` gives them."""
        return labels

    def contradiction_keys(self, labels: NDArray[Any]) -> NDArray[Any]:
        """What has to be equal of the labels of equal texts, ``(examples,)``, if they are not to contradict."""
        return labels

    def check_examples(self, rows: Mapping[str, Sequence[Any]], first: int, where: str) -> None:
        """Whether texts and labels fit each other.

        Args:
            rows: the columns ``text``, maybe ``text_pair`` and ``label``, of a few examples.
            first: the number of the first of them.
            where: the file, for messages.
        Raises:
            RequestError: they do not, with the row.
        """

    def feature(self, names: Sequence[str] | None) -> Any:
        """The type of the label column in a data set (a feature of `datasets`)."""
        raise NotImplementedError

    def has_feature(self, feature: Any) -> bool:
        """Whether a column of this type (a feature of `datasets`) is told by it to hold labels of this kind."""
        return False

    def has_columns(self, features: Mapping[str, Any]) -> bool:
        """Whether a data set with these columns (features of `datasets`), tokenised or not, is of this kind.

        Args:
            features: of all columns, among them those that `label_feature` finds.
        """
        feature = label_feature(features)
        return feature is not None and self.has_feature(feature)

    def may_have_columns(self, features: Mapping[str, Any]) -> bool:
        """Whether a data set with these columns can be of this kind, so that a model of it may read them."""
        return self.has_columns(features)

    # ---- from examples to a model's inputs, and back ----

    def reader(self, tokenizer: PreTrainedTokenizerBase, limit: int, settings: Mapping[str, Any]) -> Reader:
        """What turns examples into inputs.

        Args:
            tokenizer: of the model.
            limit: tokens of an input, special ones included.
            settings: how texts are read, as a model's config keeps it (see `distilnlp.models.reading`).
        Raises:
            RequestError: a tokenizer that cannot be used for it, or settings that cannot be.
        """
        return text_reader(tokenizer, limit, settings)

    def chosen(self, labels: Tensor) -> dict[str, Tensor]:
        """The tokens of a batch that the head answers for, where it answers for some only.

        Args:
            labels: by token, ``(batch, tokens)``.
        Returns:
            ``head_tokens``, the places of those tokens, with ``labels`` and ``label_mask`` of each row of logits,
            ``(batch, rows)``; empty where the head answers for all.
        """
        return {}

    def kept(self, logits: Tensor, labels: Tensor | None) -> Tensor:
        """What is kept of a batch's rows of logits, which `decide` and the metrics read; themselves, mostly.

        Args:
            logits: ``(batch, classes)`` or ``(batch, rows, classes)``.
            labels: of the batch; None where it has none.
        """
        return logits

    def answered_rows(
        self, logits: NDArray[Any], labels: NDArray[Any]
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.int64]]:
        """Of a padded batch the rows that have a label: their logits, their labels, and the example of each."""
        return logits, labels, np.arange(len(logits))

    def shortened(self, rows: Mapping[str, Sequence[Any]], letters: int) -> dict[str, Any]:
        """The same rows with texts of so few letters that a step on them takes no time."""
        texts = [name for name in ("text", "text_pair", TEACHER_TEXT) if name in rows]
        return {**rows, **{name: [text.strip()[:letters] for text in rows[name]] for name in texts}}

    # ---- the model ----

    def num_logits(self, names: Sequence[str] | None) -> int:
        """How many logits a head for these labels has."""
        return len(names or ())

    def config_settings(self, names: Sequence[str] | None) -> dict[str, Any]:
        """The fields of a model's config that make its head one for this problem.

        Args:
            names: the labels in order; None keeps those of the config.
        """
        return {"problem_type": self.name, **label_settings(names)}

    def of_config(self, config: Any) -> Problem:
        """This kind, as a model with this config decides: with the config's thresholds, where the kind has any.

        Raises:
            RequestError: thresholds that cannot be.
        """
        return self

    def head_size(self, config: Any) -> int:
        """How many logits the head of a model with this config gives for each row."""
        return int(config.num_labels or 0)

    def output_size(self, config: Any) -> int:
        """How many numbers a model with this config gives for an input; its logits, unless they are made of them."""
        return self.head_size(config)

    def scored(self, logits: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The rows of logits of a batch out of what a model gives for its inputs, and the batch of those rows.

        Both as they are where each input has a row of its own.
        """
        return logits, batch

    def of_batch(self, batch: Mapping[str, Tensor]) -> Problem:
        """The kind of task that the rows of a batch are of; of a model of several tasks that of one."""
        return self

    def learns_from(self, teacher: Problem) -> bool:
        """Whether the logits of a teacher of this kind mean what the own ones do."""
        return type(teacher) is type(self)

    def asked_as(self, config: Any) -> Problem | None:
        """The kind as which a model from outside, with this config, is asked about examples of this one.

        None: as its config says.
        """
        return self if self.taught_alone or self.labels_itself else None

    def fits_head(self, config: Any, names: Sequence[str] | None) -> bool:
        """Whether the head of a model with this config is one for these labels, as far as its kind and size tell."""
        same = problem_of_config(config).auto_class == self.auto_class
        return same and self.head_size(config) == self.num_logits(names)

    def num_classes(self, num_logits: int) -> int:
        """How many classes a head of so many logits chooses from; labels that are class ids lie below."""
        return num_logits

    def has_labels(self, labels: Tensor) -> bool:
        """Whether a batch's labels can be of this kind, by their type and shape."""
        return False

    def row_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The task's own loss of each row, ``(batch, rows)``.

        Args:
            logits: ``(batch, rows, classes)``, at least float32.
            labels: of the batch; class ids ``(batch, rows)`` where they are integers.
        """
        raise NotImplementedError

    def weighted_row_loss(self, logits: Tensor, labels: Tensor, pos_weight: Tensor) -> Tensor:
        """As `row_loss`, where a label that holds weighs ``pos_weight`` times as much as one that does not.

        Args:
            pos_weight: ``()`` or ``(labels,)``.
        Raises:
            RequestError: a kind whose labels do not hold or not.
        """
        raise RequestError(f"pos_weight means nothing for {self.name}: it is for several labels a text")

    # ---- from logits to answers ----

    @property
    def thresholds(self) -> tuple[float, ...] | None:
        """The probability above which each label holds; None where none were chosen, or the kind has none."""
        return None

    def decided_by(self, thresholds: Sequence[float] | None) -> Problem:
        """This kind with a model's own thresholds; itself where the kind has none.

        Raises:
            RequestError: they are no probabilities.
        """
        return self

    def check_logits(self, logits: ArrayLike) -> NDArray[Any]:
        """The logits as an array, one dimension for a number and two otherwise.

        Raises:
            RequestError: logits of another shape.
            RunError: logits that are not finite numbers.
        """
        raise NotImplementedError

    def decide(self, logits: ArrayLike) -> NDArray[Any]:
        """The decisions that logits stand for, as `distilnlp.report.scores.compute_scores` takes them.

        Raises:
            RequestError, RunError: as `check_logits`.
        """
        raise NotImplementedError

    def decisions(self, logits: ArrayLike, found: Sequence[str] | NDArray[Any] | None) -> NDArray[Any]:
        """As `decide`, of a kind whose answers are texts those texts.

        Args:
            found: the text that each row of logits is about, where the kind has such (`found`).
        """
        return self.decide(logits)

    def found(self, texts: Sequence[tuple[Any, ...]], spans: Sequence[Spans]) -> list[str] | None:
        """The text that each row of logits is about; None for a kind whose answers are no texts.

        Args:
            texts: the examples.
            spans: as `distilnlp.models.predictor.Answered` has them.
        """
        return None

    def decision_array(self, values: Any, which: str) -> NDArray[Any]:
        """Decisions or labels as the metrics take them: numbers, unless the kind's answers are something else.

        Args:
            which: ``predictions`` or ``references``.
        Raises:
            RequestError: values that can be none.
            RunError: numbers that are not finite.
        """
        array = np.asarray(values, dtype=np.float64)
        if which == "predictions" and not np.isfinite(array).all():
            raise RunError("the predictions hold values that are not finite numbers: the model has diverged")
        return array

    def wants_thresholds(self, labels: Callable[[], NDArray[Any]]) -> bool:
        """Whether a model for data with these labels is to have thresholds of its own, chosen on some of the data."""
        return self.several_labels

    def choose_thresholds_of(
        self, logits: ArrayLike, found: Sequence[str] | None, labels: NDArray[Any], *, one: bool = False
    ) -> tuple[float, ...]:
        """As `choose_thresholds`; ``found``: as for `decisions`."""
        return self.choose_thresholds(logits, labels, one=one)

    def choose_thresholds(self, logits: ArrayLike, labels: ArrayLike, *, one: bool = False) -> tuple[float, ...]:
        """The thresholds that fit labelled examples best, as `distilnlp.problems.thresholds.choose_thresholds`.

        Raises:
            RequestError: the kind has none, or labels that are not 0 and 1 by example and label.
        """
        raise RequestError(f"{self.name} has no decision thresholds to choose: they are for several labels a text")

    def answers(self, logits: ArrayLike, names: Sequence[str]) -> list[Answer]:
        """What the logits say of each text, for a reader."""
        raise NotImplementedError

    def answers_of_texts(
        self,
        logits: NDArray[Any],
        names: Sequence[str],
        example: NDArray[np.int64],
        spans: Sequence[Spans],
        texts: Sequence[tuple[Any, ...]] = (),
    ) -> list[Answer]:
        """As `answers`, one for each text, of a model's rows of logits.

        Args:
            logits, example, spans: as `distilnlp.models.predictor.Answered` has them.
            texts: the texts, for a kind whose answers are parts of them.
        """
        return self.answers(logits, names)

    def details(
        self,
        decisions: NDArray[Any],
        labels: NDArray[Any],
        examples: NDArray[np.int64],
        names: Sequence[str] | None,
        logits: NDArray[Any],
    ) -> dict[str, float]:
        """Further scores, of each type of entity say, by name; none where the metrics tell all.

        Args:
            decisions, labels, logits: of each row of logits.
            examples: the example of each row.
            names: of the classes.
        """
        return {}

    def examples_of(self, labels: NDArray[Any], examples: NDArray[np.int64]) -> NDArray[np.int64]:
        """The example of each row of logits, of a kind whose labels tell which rows belong together; as given else."""
        return examples

    def check_decisions(self, values: Floats, which: str) -> None:
        """Raise RequestError unless the values can be decisions of this kind; ``which``: what they are, in words."""

    def wrong_probabilities(self, values: Floats) -> tuple[NDArray[np.bool_], str]:
        """Which rows ``(rows, labels)`` cannot be a teacher's probabilities, ``(rows,)``; and what is needed."""
        raise RequestError(f"{self.name} has no probabilities that could be recorded: give logits")

    def logits_of(self, probabilities: Floats) -> Floats:
        """Logits with these probabilities, both ``(rows, labels)``; none infinite (`LEAST_PROBABILITY`)."""
        raise RequestError(f"{self.name} has no probabilities that could be recorded: give logits")

    def probabilities_of(self, logits: Floats) -> Floats:
        """What `logits_of` turns into logits that mean the same, both ``(rows, labels)``."""
        raise RequestError(f"{self.name} has no probabilities that could be recorded: take logits")

    def logits_of_labels(self, labels: NDArray[Any], count: int) -> Floats:
        """Logits ``(rows, count)`` of a teacher that is certain of the labels, which are as `encode` gives them."""
        raise RequestError(f"{self.name} has no labels that could stand for a teacher's answers")

    def agreement(
        self,
        student: Floats,
        teacher: Floats,
        teachers: Problem | None = None,
        examples: NDArray[np.int64] | None = None,
    ) -> dict[str, float]:
        """``agreement`` with a teacher on the same texts, ``kappa`` where chance alone gives some, and a distance.

        Args:
            student, teacher: logits of one shape, as `check_logits` gives them.
            teachers: the kind as the teacher decides it, where that differs.
            examples: the example of each row, where one has several.
        """
        raise NotImplementedError

    def agreement_of(
        self,
        student: Floats,
        teacher: Floats,
        found: tuple[Sequence[str], Sequence[str]] | None,
        teachers: Problem | None = None,
        examples: NDArray[np.int64] | None = None,
    ) -> dict[str, float]:
        """As `agreement`; ``found``: as for `decisions`, of both models."""
        return self.agreement(student, teacher, teachers, examples)

    def distances(self, student: Floats, teacher: Floats, examples: NDArray[np.int64]) -> Floats:
        """How far apart two models' answers are on each row, ``(rows,)``; 0 where they are the same.

        Args:
            student, teacher: logits of one shape, as `check_logits` gives them.
            examples: ``(rows,)``, the example of each row.
        """
        return np.asarray(np.abs(student - teacher).reshape(len(student), -1).mean(axis=1))

    def baseline_decisions(
        self, labels: NDArray[Any], texts: Sequence[tuple[Any, ...]]
    ) -> dict[str, NDArray[Any]] | None:
        """Decisions that need no model, of a kind whose answers are texts; None where `baselines` has all of them.

        Args:
            labels: of the training rows.
            texts: the held-out examples.
        """
        return None

    def baselines(self, labels: NDArray[Any], rows: int) -> dict[str, Floats]:
        """Logits ``(rows, ...)`` that need no text, the same in each row, by what they answer in words.

        Where there are several, the best by the main metric is what a model has to beat.

        Args:
            labels: of the training rows, as `encode` gives them; at least one row.
        """
        raise NotImplementedError

    # ---- the model card ----

    def summary(self, inputs: str, names: Sequence[str]) -> list[str]:
        """Sentences of the card: what the model does with its ``inputs`` ("texts"), and which answers there are.

        Args:
            names: the labels, each formatted for the card.
        """
        raise NotImplementedError

    def card_code(self) -> str:
        """The lines of Python in the card that print the answer, from ``logits`` and ``model``."""
        raise NotImplementedError


ProblemClass = TypeVar("ProblemClass", bound=type[Problem])
_REGISTRY: dict[str, Problem] = {}


def register_problem(name: str) -> Callable[[ProblemClass], ProblemClass]:
    """Class decorator: put a kind of task into the registry, under the name of its ``config.problem_type``.

    Raises:
        ValueError: the name is taken.
    """

    def register(cls: ProblemClass) -> ProblemClass:
        taken = _REGISTRY.get(name)
        if taken is not None and (type(taken).__module__, type(taken).__qualname__) != (
            cls.__module__,
            cls.__qualname__,
        ):
            raise ValueError(f"the problem name '{name}' is taken by {type(taken).__module__}")
        cls.name = name
        _REGISTRY[name] = cls()
        return cls

    return register


def list_problems() -> tuple[str, ...]:
    """The names of all kinds that data can be of, in the order of their registration."""
    return tuple(name for name, problem in _REGISTRY.items() if problem.of_data)


def get_problem(name: str | Problem) -> Problem:
    """The problem registered under ``name``; a problem as it is.

    Raises:
        RequestError: there is none, with the nearest match.
    """
    if isinstance(name, Problem):
        return name
    if name not in _REGISTRY:
        raise unknown("problem_type", str(name), _REGISTRY)
    return _REGISTRY[name]


def find_problem(name: str | None) -> Problem | None:
    """As `get_problem`; None for an unknown name, which is refused elsewhere, or for none."""
    return None if name is None else _REGISTRY.get(name)


def problem_of_config(config: Any) -> Problem:
    """The problem that a model's config names; without a name, that of its number of labels, as transformers does.

    Raises:
        RequestError: an unknown name, or decision thresholds that cannot be.
    """
    if config.problem_type:
        return get_problem(str(config.problem_type)).of_config(config)
    return (_of_architecture(config.architectures) or problem_of_head(config.num_labels)).of_config(config)


def _of_architecture(classes: Sequence[str] | None) -> Problem | None:
    """The problem that alone has a head of this class, ``["BertForTokenClassification"]`` say."""
    head = (classes or ["None"])[0].partition("For")[2]
    found = [each for each in _REGISTRY.values() if head and each.auto_class == f"AutoModelFor{head}"]
    return found[0] if len(found) == 1 else None


def problem_of_head(num_logits: int) -> Problem:
    """The problem of a head of which nothing but its size is known: one logit is a number, more are classes."""
    return get_problem("regression" if num_logits == 1 else "single_label_classification")


def label_feature(features: Mapping[str, Any]) -> Any:
    """The type of a data set's label column; None where it has none."""
    return next((features[name] for name in LABEL_COLUMNS if name in features), None)


def problem_of_columns(features: Mapping[str, Any], own: Problem | None = None) -> Problem | None:
    """The problem that a data set with these columns (features of `datasets`) is for; None where that is not told.

    Args:
        features: of the columns.
        own: the problem of the model that will read the data, where both could be of it.
    """
    if own is not None and own.may_have_columns(features):
        return own
    return next((problem for problem in reversed(_REGISTRY.values()) if problem.has_columns(features)), None)


def problem_of_vectors() -> Problem:
    """The problem whose answers are vectors of texts."""
    return next(problem for problem in _REGISTRY.values() if problem.vectors)


def problem_of_queries() -> Problem:
    """The problem whose answers are an order of the texts of a query, by their vectors."""
    return next(problem for problem in _REGISTRY.values() if problem.vectors and problem.apart)


def problem_of_labels(labels: Tensor) -> Problem:
    """The problem that a batch's labels are of, by their type and shape alone: the first registered that fits."""
    kinds = (problem for problem in _REGISTRY.values() if not problem.labels_itself)
    found = next((problem for problem in kinds if problem.has_labels(labels)), None)
    if found is None:
        raise RequestError(f"labels of type {labels.dtype} and shape {tuple(labels.shape)} are of no known problem")
    return found


# ---- shared by the kinds ----


def label_settings(names: Sequence[str] | None) -> dict[str, Any]:
    """The fields of a model's config that name its labels; none of them where there are no names."""
    if names is None:
        return {}
    label2id = {label: index for index, label in enumerate(names)}
    return {"id2label": dict(enumerate(names)), "label2id": label2id, "num_labels": len(names)}


def to_number(value: object) -> float | None:
    """A number, or a text that is one; None for anything else."""
    if isinstance(value, str):
        return float(value) if DECIMAL.fullmatch(value) else None
    return float(value) if isinstance(value, (int, float)) else None


def class_name(value: object) -> str:
    """The name of a class: 1.0 is ``1``."""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def sorted_names(names: set[str]) -> tuple[str, ...]:
    """Sorted by value where all are numbers, else as text."""
    if all(DECIMAL.fullmatch(name) for name in names):
        return tuple(sorted(names, key=lambda name: (float(name), name)))
    return tuple(sorted(names))


def beyond_chance(observed: float, by_chance: float) -> float:
    """Cohen's kappa: how much of the agreement that chance leaves open is there; 1 is all, 0 none, below 0 less.

    Args:
        observed: the share of equal decisions.
        by_chance: the share that two models would have that keep their rates and ignore the texts. Where that is all,
            as for two models that always decide the same, nothing is left to agree on: 0.
    Source: Cohen 1960, doi:10.1177/001316446002000104.
    """
    return (observed - by_chance) / (1.0 - by_chance) if by_chance < 1.0 else 0.0


def check_finite(logits: NDArray[Any]) -> None:
    """Raise RunError for logits that are not finite numbers."""
    if not np.isfinite(logits).all():
        bad = int((~np.isfinite(logits)).reshape(len(logits), -1).any(axis=1).sum())
        raise RunError(f"{bad} of {len(logits)} examples have logits that are not finite: the model has diverged")


def check_classes(values: Floats, which: str, needed: str, highest: float = np.inf) -> None:
    """Raise RequestError unless all values are whole numbers from 0 to ``highest``."""
    wrong = (values < 0) | (values != np.floor(values)) | (values > highest)
    if wrong.any():
        hint = ": the split has no labels, take a labelled one" if which == "references" else ""
        raise RequestError(f"the {which} must be {needed}; got {values[wrong][0]:g}{hint}")
