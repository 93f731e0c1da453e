"""A row for every kind of task: label columns that it takes and refuses. Without one the suite fails."""

import math
from dataclasses import dataclass, field
from typing import Any

__all__ = ["CASES", "Case"]


@dataclass(frozen=True)
class Case:
    """What the suite knows of a kind.

    Args:
        name: the registry's name.
        column: labels as a user's file has them, which are told to be of this kind by their values.
        refused: a column that this kind cannot have, though the user says so.
        names: the labels' names; None where there are none.
        logits: of three texts.
        decisions: what they stand for, worked out by hand.
        batch: labels as a batch has them, of the three texts.
        text: the texts of the column's rows, where they tell the kind; else the labels do.
        pair: the second texts of the rows, where they tell the kind.
        alone: whether the kind is told by such labels alone; False where another kind has the same ones, so that it
            is known by the data set or the model's config only.
        told: whether a data set tells it; False where it has to be said.
        lowest: of metrics that are better when lower, what these logits get where all decisions are right; default: 0.
        found: what each row of logits is about, of a kind whose answers are texts; decisions are such texts then.
        head: logits as a model's head gives them, of the three texts, where those above are made of them.
        elsewhere: metrics of held-out data of another form, which are tested with the kind.
    """

    name: str
    column: list[Any]
    refused: list[Any]
    names: tuple[str, ...] | None
    logits: list[list[float]]
    decisions: list[Any]
    batch: list[Any]
    text: list[Any] | None = None
    pair: list[Any] | None = None
    alone: bool = True
    told: bool = True
    lowest: dict[str, float] = field(default_factory=dict)
    found: list[str] | None = None
    head: list[Any] | None = None
    elsewhere: tuple[str, ...] = ()


CASES = [
    Case(
        "single_label_classification",
        ["no", "yes", "no"],
        [["no"], ["yes"]],
        ("no", "yes"),
        [[2.0, -1.0], [0.0, 0.5], [1.0, 0.9]],
        [0, 1, 0],
        [0, 1, 1],
    ),
    Case(
        "regression",
        [0.5, 1, 2.25],
        ["low", "high"],
        None,
        [[0.5], [-1.0], [3.0]],
        [0.5, -1.0, 3.0],
        [0.25, 1.0, 2.0],
    ),
    Case(
        "sentence_embedding",
        [0.5, 1, 2.25],
        ["low", "high"],
        None,
        [[0.5], [-1.0], [0.75]],
        [0.5, -1.0, 0.75],
        [0.25, 1.0, 2.0],
        alone=False,
        told=False,
        elsewhere=("translation_accuracy",),
    ),
    Case(
        "multi_label_classification",
        [["a"], ["a", "b"], []],
        ["a", "b"],
        ("a", "b"),
        [[1.0, -1.0], [0.1, 0.2], [-3.0, -0.1]],
        [[1, 0], [1, 1], [0, 0]],
        [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]],
    ),
    Case(
        "token_classification",
        [["O", "B-place"], ["O"], ["B-place", "O", "O"]],
        ["O", "B-place"],
        ("O", "B-place"),
        [[2.0, -1.0], [0.0, 0.5], [1.0, 0.9]],
        [0, 1, 0],
        [[0, 1, 1]],
        text=[["in", "Rome"], ["yes"], ["Rome", "is", "big"]],
    ),
    Case(
        "ranking",
        [[1, 0], [0, 2, 0], [1.0]],
        [[1, -0.5], [0, 1]],
        None,
        [[0.5], [0.0], [3.0]],
        [0.5, 0.0, 3.0],
        [[1.0, 0.0, 2.0]],
        text=["who", "where", "when"],
        pair=[["she", "it"], ["in", "Rome", "then"], ["now"]],
        alone=False,
    ),
    Case(
        "retrieval",
        [[1, 0], [0, 2, 0], [1.0]],
        [[1, -0.5], [0, 1]],
        None,
        [[0.5], [0.0], [3.0]],
        [0.5, 0.0, 3.0],
        [[1.0, 0.0, 2.0]],
        text=["who", "where", "when"],
        pair=[["she", "it"], ["in", "Rome", "then"], ["now"]],
        alone=False,
        told=False,
    ),
    Case(
        "masked_lm",
        [7, 7, 5],  # tokens of the training texts
        ["a", "b"],
        None,
        [[1.0, -0.2, -1.5], [2.0, -0.1, -0.4], [0.0, -0.5, -0.5]],
        [1, 2, 0],
        [[1, 2, 0]],
        alone=False,
        told=False,
        lowest={"pseudo_perplexity": math.exp(0.8)},
    ),
    Case(
        "question_answering",
        [
            {"text": ["Rome"], "answer_start": [3]},
            {"text": [], "answer_start": []},
            {"text": ["a", "b"], "answer_start": [0, 2]},
        ],
        [{"text": ["Rome"], "answer_start": []}, {"text": [], "answer_start": []}],
        None,
        [[2.0, -1.0, 2.5], [0.0, 0.5, 1.0], [1.0, 0.9, 2.0]],
        ["Rome", "in it", "a"],
        [[1, 1], [0, 0], [0, 1]],
        alone=False,
        found=["Rome", "in it", "a"],
        head=[[[0.0, 1.0], [2.0, -1.0]], [[1.0, 0.5], [0.1, 0.2]], [[-1.0, 0.0], [0.3, 0.3]]],
    ),
]
