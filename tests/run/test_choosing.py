"""Texts to ask a teacher about: the most doubtful first, each once, within the budget, and the same each time."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset

from distilnlp.errors import RequestError
from distilnlp.models import Predictor
from distilnlp.run import answering
from distilnlp.run.choosing import WAYS, Choice
from distilnlp.run.label import label_data
from tests.run.test_label import read
from tests.tiny import CLASS_WORDS, FILLER, tiny_model, tiny_tokenizer

NAMES = ("bad", "good", "mixed")
TEXTS = [
    f"the {thing} was {word}" for thing in ("film", "book", "meal") for words in CLASS_WORDS[:2] for word in words
]
TWICE = [*TEXTS, *TEXTS[:5]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    kinds: dict[str, dict[str, Any]] = {
        "student": {"label_names": NAMES, "seed": 1},
        "control": {"label_names": ("mixed", "bad", "good"), "seed": 2},
        "teacher": {"label_names": NAMES, "seed": 3},
        "several": {"label_names": NAMES, "seed": 4, "problem_type": "multi_label_classification"},
        "number": {"num_labels": 1, "problem_type": "regression"},
        "other": {"label_names": ("red", "green", "blue")},
    }
    for name, settings in kinds.items():
        tiny_model("bert", **settings).save_pretrained(folder / name)
        tiny_tokenizer().save_pretrained(folder / name)
    return {name: str(folder / name) for name in kinds}


def data(texts: list[str] = TWICE) -> Dataset:
    return Dataset.from_dict({"text": texts})


def chosen(choice: Choice, texts: list[str] = TWICE, answered: frozenset[Any] = frozenset()) -> list[str]:
    return [texts[row] for row in choice.of(data(texts), answered)]


def probabilities(model: str, texts: list[str] = TEXTS) -> Any:
    logits = Predictor.load(model).logits(texts).astype(np.float64)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def smallest(values: Any, count: int) -> set[str]:
    return {TEXTS[row] for row in np.argsort(values, kind="stable")[:count]}


def test_the_texts_with_the_smallest_margin_are_asked_about(models: dict[str, str]) -> None:
    ordered = np.sort(probabilities(models["student"]), axis=1)
    found = chosen(Choice(7, "margin", models["student"]))
    assert set(found) == smallest(ordered[:, -1] - ordered[:, -2], 7) and len(found) == 7
    assert found == sorted(found, key=TEXTS.index)


def test_or_those_with_the_largest_entropy(models: dict[str, str]) -> None:
    shares = probabilities(models["student"])
    found = chosen(Choice(7, "entropy", models["student"]))
    assert set(found) == smallest((shares * np.log(shares)).sum(axis=1), 7)


def test_or_those_on_which_two_models_differ_whatever_order_their_labels_have(models: dict[str, str]) -> None:
    one, other = probabilities(models["student"]), probabilities(models["control"])[:, [1, 2, 0]]
    found = chosen(Choice(7, "disagreement", models["student"], models["control"]))
    assert set(found) == smallest(-np.abs(one - other).sum(axis=1), 7)


def test_of_several_labels_the_one_nearest_to_a_half_decides(models: dict[str, str]) -> None:
    logits = Predictor.load(models["several"]).logits(TEXTS).astype(np.float64)
    assert set(chosen(Choice(5, "margin", models["several"]))) == smallest(np.abs(np.tanh(logits / 2)).min(axis=1), 5)


def test_a_larger_budget_adds_to_a_smaller_one_and_a_seed_decides() -> None:
    small, large = set(chosen(Choice(5))), set(chosen(Choice(12)))
    assert small < large and len(small) == 5 and len(large) == 12
    assert chosen(Choice(5)) == chosen(Choice(5)) != chosen(Choice(5, seed=1))


@pytest.mark.parametrize("by", WAYS)
def test_no_text_is_asked_about_twice_and_the_budget_is_kept(by: str, models: dict[str, str]) -> None:
    asked = [models["student"], models["control"]][: WAYS[by]]
    before = frozenset((text,) for text in TEXTS[:10])
    found = chosen(Choice(14, by, *asked), answered=before)
    assert len(found) == 4 == len(set(found)) and not set(found) & set(TEXTS[:10])
    assert chosen(Choice(10, by, *asked), answered=before) == []
    assert len(chosen(Choice(1000, by, *asked))) == len(TEXTS)


def test_of_equal_doubts_the_earlier_row_comes_first(models: dict[str, str], tmp_path: Path) -> None:
    model = tiny_model("bert", label_names=NAMES)
    model.classifier.weight.data.zero_()
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    for by in ("margin", "entropy"):
        assert chosen(Choice(4, by, str(tmp_path))) == TEXTS[:4]
    assert chosen(Choice(4, "disagreement", str(tmp_path), str(tmp_path))) == TEXTS[:4]


def test_words_are_doubted_by_the_mean_over_a_texts(tmp_path: Path) -> None:
    from transformers import AutoModelForTokenClassification

    config = tiny_model("bert", label_names=("O", "B-film"), problem_type="token_classification").config
    AutoModelForTokenClassification.from_config(config).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    words = [[*FILLER[start : start + 3]] for start in range(0, 15, 3)]
    rows = Choice(2, "margin", str(tmp_path)).of(Dataset.from_dict({"text": words}), frozenset())
    answered = Predictor.load(str(tmp_path)).answered([(each,) for each in words])
    margins = np.abs(np.tanh((answered.logits[:, 0] - answered.logits[:, 1]) / 2)).reshape(5, 3).mean(axis=1)
    assert rows == sorted(np.argsort(margins)[:2].tolist())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"budget": 0}, "the budget is 0"),
        ({"budget": 3, "by": "margn"}, "margin"),
        ({"budget": 3, "by": "margin"}, "asks one model, the student: give --model"),
        ({"budget": 3, "by": "disagreement", "model": "a"}, "give --control"),
        ({"budget": 3, "by": "margin", "model": "a", "control": "b"}, "leave out --control"),
        ({"budget": 3, "model": "a"}, "asks no model: leave out --model"),
    ],
)
def test_what_cannot_be_meant_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Choice(**settings)


@pytest.mark.parametrize(
    ("by", "names", "message"),
    [
        ("margin", ["number"], "does not tell how sure it is"),
        ("disagreement", ["student", "several"], "give two of a kind"),
        ("disagreement", ["student", "other"], "give two models for the same labels"),
    ],
)
def test_models_that_do_not_tell_are_refused(by: str, names: list[str], message: str, models: dict[str, str]) -> None:
    with pytest.raises(RequestError, match=message):
        chosen(Choice(3, by, *(models[name] for name in names)))


def test_numbers_are_chosen_by_how_far_two_models_are_apart(models: dict[str, str], tmp_path: Path) -> None:
    tiny_model("bert", num_labels=1, problem_type="regression", seed=9).save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    numbers = [Predictor.load(name).logits(TEXTS)[:, 0] for name in (models["number"], str(tmp_path))]
    found = chosen(Choice(4, "disagreement", models["number"], str(tmp_path)))
    assert set(found) == smallest(-np.abs(numbers[0].astype(np.float64) - numbers[1]), 4)


# ---- in the file of answers ----


@pytest.fixture
def texts(tmp_path: Path) -> str:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TWICE) + "\n")
    return str(path)


def label(texts: str, models: dict[str, str], output: Path, choice: Choice, **settings: Any) -> int:
    return label_data(texts, [models["teacher"]], output, say=lambda _: None, choice=choice, **settings)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_answers_are_added_to_those_that_are_there(
    suffix: str, texts: str, models: dict[str, str], tmp_path: Path
) -> None:
    output = tmp_path / f"soft{suffix}"
    assert label(texts, models, output, Choice(6)) == 6
    first = read(output)
    assert label(texts, models, output, Choice(10, "margin", models["student"])) == 4
    rows = read(output)
    assert rows[:6] == first and len({row["text"] for row in rows}) == len(rows) == 10
    assert label(texts, models, output, Choice(10, "margin", models["student"])) == 0  # nothing is asked again
    assert read(output) == rows
    expected = dict(zip(TEXTS, probabilities(models["teacher"]), strict=True))
    for row in rows:
        np.testing.assert_allclose([row["probs"][name] for name in NAMES], expected[row["text"]], rtol=1e-4)


def test_a_broken_call_goes_on_with_the_texts_that_it_chose(
    texts: str, models: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from distilnlp.run import label as label_module

    monkeypatch.setattr(label_module, "PART_ROWS", 4)
    asked: list[str] = []
    answers = answering._mean_answers

    def break_off(rows: Any, *rest: Any) -> Any:
        if len(asked) == 4:
            raise KeyboardInterrupt
        asked.extend(text for (text,) in rows)
        return answers(rows, *rest)

    choice = Choice(10, "margin", models["student"])
    monkeypatch.setattr(answering, "_mean_answers", break_off)
    with pytest.raises(KeyboardInterrupt):
        label(texts, models, tmp_path / "soft.jsonl", choice)
    again: list[str] = []
    monkeypatch.setattr(
        answering, "_mean_answers", lambda rows, *rest: again.extend(t for (t,) in rows) or answers(rows, *rest)
    )
    assert label(texts, models, tmp_path / "soft.jsonl", choice) == 10
    assert len(again) == 6 and not set(asked) & set(again)
    assert [row["text"] for row in read(tmp_path / "soft.jsonl")] == chosen(choice)


def test_a_file_of_other_answers_is_not_added_to(texts: str, models: dict[str, str], tmp_path: Path) -> None:
    output = tmp_path / "soft.jsonl"
    for record, message in (
        ({"text": "it", "logits": {"bad": 1.0}}, "has the columns text, logits and the new answers text, probs"),
        ({"text": "it", "probs": {"red": 1.0, "blue": 0.0}}, "answers for the labels red, blue"),
    ):
        output.write_text(json.dumps(record) + "\n")
        with pytest.raises(RequestError, match=message):
            label(texts, models, output, Choice(3))
        assert json.loads(output.read_text()) == record
    for wrong, message in (("{", "cannot be read"), ("[1]", "no records")):
        output.write_text(wrong)
        with pytest.raises(RequestError, match=message):
            label(texts, models, output, Choice(3))
