"""Where texts are generated, the held-out examples are read and the training examples are not."""

import pytest
from datasets import Dataset

from distilnlp.data import load_task
from distilnlp.errors import RequestError
from distilnlp.problems import get_problem

NAMES = ("bad", "good")


def made(pair: bool, by_word: bool) -> Dataset:
    rows = {"text": [["red", "book"], ["a", "film"]] if by_word else ["red book", "a film"]}
    return Dataset.from_dict({**rows, **({"text_pair": ["blue", "green"]} if pair else {})})


def load(name, **settings):
    kind = settings.pop("kind", "single_label_classification")
    return load_task(str(name), generated=made, known=lambda: (get_problem(kind), NAMES), **settings)


def test_a_folder_is_held_out_and_its_training_file_is_never_opened(tmp_path) -> None:
    (tmp_path / "train.csv").write_bytes(b"\xff\xfe\x00 no table at all")
    (tmp_path / "validation.csv").write_text("sentence,label\nwell,good\nill,bad\n")
    task = load(tmp_path)

    assert task.train["text"][:] == ["red book", "a film"] and "label" not in task.train.column_names
    assert task.validation["text"][:] == ["well", "ill"] and task.label_names == NAMES


def test_the_file_of_training_examples_need_not_be_there(tmp_path) -> None:
    held_out = tmp_path / "dev.csv"
    held_out.write_text("premise,hypothesis,label\na,b,good\nc,d,bad\n")
    task = load(tmp_path / "gone.csv", validation=str(held_out))

    assert task.train.column_names == ["text", "text_pair"] and task.name == "gone"
    assert task.validation["text_pair"][:] == ["b", "d"]


def test_a_known_task_keeps_its_labels_and_pairs() -> None:
    task = load("mnli-sample")
    assert task.train["text_pair"][:] == ["blue", "green"] and len(task.validation) > 100


def test_tagged_words_get_lists_of_words(tmp_path) -> None:
    held_out = tmp_path / "dev.jsonl"
    held_out.write_text('{"tokens": ["a", "b"], "tags": ["good", "bad"]}\n')
    task = load(
        "gone.jsonl", validation=str(held_out), kind="token_classification", problem_type="token_classification"
    )
    assert task.train["text"][:] == [["red", "book"], ["a", "film"]]


def test_nothing_is_held_out_of_examples_that_are_not_read(tmp_path) -> None:
    path = tmp_path / "texts.csv"
    path.write_text("text,label\nx,good\n")
    with pytest.raises(RequestError, match="give the held-out examples as a file"):
        load(path)


@pytest.mark.parametrize("kind", ["masked_lm", "question_answering", "ranking", "sentence_embedding"])
def test_a_task_whose_examples_are_more_than_texts_is_refused(tmp_path, kind) -> None:
    held_out = tmp_path / "dev.csv"
    held_out.write_text("text,label\nx,good\n")
    with pytest.raises(RequestError, match=f"and not for {kind}"):
        load(tmp_path / "gone.csv", validation=str(held_out), kind=kind)
