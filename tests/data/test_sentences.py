"""Texts to learn vectors from, and scored pairs to measure them on."""

from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, Sequence, Value

from distilnlp.data.load import load_task
from distilnlp.data.sentences import are_scored, held_out_part, scored_pairs, single_texts
from distilnlp.errors import RequestError

PAIRS = Dataset.from_dict({"text": ["a b", "c"], "text_pair": ["d", "e"], "label": [4.5, 1.0]})


def test_the_texts_of_all_columns_come_once_each_and_without_white_space_around_them() -> None:
    data = Dataset.from_dict({"one": ["x ", "y", "x"], "two": ["y", " z", ""], "label": [1, 2, 3]})
    found = single_texts(data, ["one", "two"], "here")
    assert found.rows["text"][:] == ["x", "y", "z"]
    assert found.notes == ("of 6 texts 1 are empty: left out",)


def test_what_is_measured_is_not_learned_from() -> None:
    data = Dataset.from_dict({"text": ["a b", "new", "e", None]})
    found = single_texts(data, ["text"], "here", PAIRS)
    assert found.rows["text"][:] == ["new"]
    assert found.notes == ("of 4 texts 1 are empty and 2 are held out: left out",)


@pytest.mark.parametrize("texts", [["", "  ", "\n"], [None, None]])
def test_texts_that_are_all_empty_are_refused(texts: list[str | None]) -> None:
    with pytest.raises(RequestError, match=rf"here: none of {len(texts)} texts is left .* are empty"):
        single_texts(Dataset.from_dict({"text": texts}), ["text"], "here")


def test_numbers_are_no_texts() -> None:
    with pytest.raises(RequestError, match="not texts"):
        single_texts(Dataset.from_dict({"text": [1, 2]}), ["text"], "here")


def test_scores_stay_as_they_are() -> None:
    found = scored_pairs(PAIRS, "here")
    assert found["label"][:] == [4.5, 1.0] and found.features["label"] == Value("float32")


def test_classes_of_inference_say_how_alike_two_texts_are() -> None:
    names = ["entailment", "neutral", "contradiction"]
    features = Features({"text": Value("string"), "text_pair": Value("string"), "label": ClassLabel(names=names)})
    pairs = Dataset.from_dict({"text": ["a"] * 3, "text_pair": ["b"] * 3, "label": [2, 0, 1]}, features=features)
    assert scored_pairs(pairs, "here")["label"][:] == [0.0, 1.0, 0.5]


REFUSED = {
    "single texts": (PAIRS.remove_columns("text_pair"), "single texts"),
    "one score": (
        Dataset.from_dict({"text": ["a", "b"], "text_pair": ["c", "d"], "label": [1.0, 1.0]}),
        "every score is 1",
    ),
    "other classes": (
        PAIRS.map(lambda _: {"label": 0}).cast_column("label", ClassLabel(names=["no", "yes"])),
        "no, yes",
    ),
    "several labels": (
        PAIRS.map(lambda _: {"label": [1]}, features=Features({**PAIRS.features, "label": Sequence(Value("int64"))})),
        "several labels",
    ),
}


@pytest.mark.parametrize(("pairs", "said"), REFUSED.values(), ids=REFUSED)
def test_pairs_without_an_order_are_refused(pairs: Dataset, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        scored_pairs(pairs, "here")


def test_pairs_are_scored_by_numbers_or_by_classes_of_inference() -> None:
    assert are_scored(PAIRS)
    names = ClassLabel(names=["entailment", "neutral"])
    assert are_scored(PAIRS.map(lambda _: {"label": 0}).cast_column("label", names))
    for other in (PAIRS.remove_columns("label"), PAIRS.remove_columns("text_pair"), REFUSED["other classes"][0]):
        assert not are_scored(other)


def test_texts_that_are_held_out_are_not_learned() -> None:
    texts = Dataset.from_dict({"text": [f"text {number}" for number in range(100)]})
    kept, held_out = held_out_part(texts, 0, "here")
    assert len(kept) == 80 and not set(kept["text"]) & set(held_out["text"])
    with pytest.raises(RequestError, match="too few"):
        held_out_part(texts.select(range(4)), 0, "here")


@pytest.mark.parametrize(
    "rows",
    ["text\n" + "\n".join(f"one {n}" for n in range(20)), "text,label\n" + "\n".join(f"a {n},x" for n in range(20))],
    ids=["without a label", "classes of single texts"],
)
def test_a_folder_without_scored_pairs_holds_its_texts_out(rows: str, tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text\nnew\none 3\na 3\n")
    (tmp_path / "validation.csv").write_text(rows)
    task = load_task(tmp_path, problem_type="sentence_embedding")
    assert task.train is not None and task.validation is not None
    assert task.validation.column_names == ["text"] and len(task.validation) == 20
    assert "new" in task.train["text"][:] and len(task.train) == 2
    assert "20 texts without scores are held out" in task.source


@pytest.mark.parametrize("said", [{"label": "likeness"}, {"label_names": ["no", "yes"]}], ids=str)
@pytest.mark.parametrize(
    "options", [{}, {"text": "one", "translations": "two"}, {"validation": "mnli-sample"}], ids=str
)
def test_a_label_that_nobody_would_read_is_refused(
    said: dict[str, Any], options: dict[str, Any], tmp_path: Path
) -> None:
    """That of held-out pairs is read, and stands in their file alone."""
    rows = "".join(f"a {n},b {n},{n}\n" for n in range(40))
    (tmp_path / "rows.csv").write_text(f"one,two,likeness\n{rows}")
    with pytest.raises(RequestError, match=f"{next(iter(said))}= is of held-out pairs of texts with a score"):
        load_task(tmp_path / "rows.csv", problem_type="sentence_embedding", **{"text": "one", **options}, **said)


@pytest.mark.parametrize("translations", [None, "two"])
def test_the_label_of_held_out_pairs_may_have_any_name(translations: str | None, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("one,two\n" + "".join(f"a {n},b {n}\n" for n in range(40)))
    (tmp_path / "pairs.csv").write_text("text_a,text_b,likeness\n" + "".join(f"c {n},d {n},{n}\n" for n in range(5)))
    told = {"text": "one", "translations": translations, "validation": tmp_path / "pairs.csv", "label": "likeness"}
    task = load_task(tmp_path / "rows.csv", problem_type="sentence_embedding", **told)
    assert task.validation is not None and task.validation["label"][:] == [0.0, 1.0, 2.0, 3.0, 4.0]
