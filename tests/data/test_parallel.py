"""Parallel text: what is read of it, what is refused, and what a student and its teacher read."""

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

from distilnlp.data import Task, load_task
from distilnlp.data.load_measured import load_pairs
from distilnlp.data.parallel import held_out_texts, parallel_columns, read_parallel, training_texts
from distilnlp.errors import RequestError
from distilnlp.problems.sentence_embedding import translation_labels

ROWS = Dataset.from_dict(
    {"en": ["a dog", " a cat", "a dog"], "de": ["ein Hund", "eine Katze", "ein Köter"], "n": [1, 2, 3]}
)


def read(rows: Dataset = ROWS, *columns: str) -> Dataset:
    return read_parallel(rows, columns or ("en", "de"), "here")


def test_every_text_of_a_row_is_learned_by_the_source_and_each_pair_once() -> None:
    found, notes = training_texts(read(), "here")
    assert found["text"][:] == ["a dog", "ein Hund", "a cat", "eine Katze", "ein Köter"]
    assert found["teacher_text"][:] == ["a dog", "a dog", "a cat", "a cat", "a dog"]
    assert notes == ()


def test_a_row_with_a_text_that_is_held_out_is_not_learned() -> None:
    found, notes = training_texts(read(), "here", Dataset.from_dict({"text": ["eine Katze"]}))
    assert "a cat" not in found["text"][:]
    assert notes == ("of 3 rows 1 have a text that is held out: left out",)
    with pytest.raises(RequestError, match="each of 3 rows has a text that is held out"):
        training_texts(read(), "here", Dataset.from_dict({"text": ["a dog"], "text_pair": ["a cat"]}))


def test_held_out_rows_are_blocks_of_languages_in_which_no_text_stands_twice() -> None:
    found, notes = held_out_texts(read(), "here")
    assert found["text"][:] == ["a dog", "a cat", "ein Hund", "eine Katze"]
    assert found["label"][:] == translation_labels(2, 2).tolist()
    assert notes == ("1 held-out rows repeat a text of another: left out",)


def test_one_held_out_sentence_is_refused() -> None:
    with pytest.raises(RequestError, match="1 held-out sentence, whose translation is always found"):
        held_out_texts(read(ROWS.select([0, 2])), "here")


@pytest.mark.parametrize("gap", ["", "  ", None])
@pytest.mark.parametrize(("column", "place"), [("en", 0), ("de", 1)])
def test_a_row_of_which_one_side_is_empty_is_refused_with_its_number(gap: str | None, column: str, place: int) -> None:
    row = {"en": "a fox", "de": "ein Fuchs", column: gap}
    rows = Dataset.from_list([*({"en": each["en"], "de": each["de"]} for each in ROWS), row])
    with pytest.raises(RequestError, match=f"here: row 4 has no text in column '{column}'"):
        read(rows)


def test_a_translation_that_is_the_source_everywhere_is_refused() -> None:
    same = Dataset.from_dict({"en": ["a", "b"], "de": ["a", " b"]})
    with pytest.raises(RequestError, match="column 'de' has in every row the text of 'en' itself"):
        read(same)


COLUMNS = {
    "not there": (("es",), "en", "no column 'es' for translations"),
    "near": (("deu",), "en", "did you mean 'de'"),
    "source not there": (("de",), "fr", "no column 'fr' for text"),
    "both": (("de", "en"), "en", "column 'en' is both the source"),
    "twice": (("de", "de"), "en", "names a column twice"),
    "all": (("en", "de", "id"), None, "every column is a translation"),
}


@pytest.mark.parametrize(("translations", "text", "said"), COLUMNS.values(), ids=COLUMNS)
def test_columns_that_cannot_be_meant_are_refused(translations: tuple[str, ...], text: str | None, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        parallel_columns(["en", "de", "id"], "here", translations, text)


def test_the_only_other_column_is_the_source() -> None:
    assert parallel_columns(["de", "en"], "here", ("de",)) == ("en", "de")
    assert parallel_columns(["id", "sentence", "de"], "here", ("de",)) == ("sentence", "de")


def write(path: Path, rows: int, first: int = 0) -> Path:
    lines = [f"{n} dogs,{n} Hunde,{n} perros" for n in range(first, first + rows)]
    path.write_text("\n".join(["en,de,es", *lines]))
    return path


def load(path: Path | str, **options: Any) -> Task:
    return load_task(path, text="en", translations=["de", "es"], problem_type="sentence_embedding", **options)


def test_a_tenth_of_the_rows_is_held_out_with_all_translations(tmp_path: Path) -> None:
    task = load(write(tmp_path / "all.csv", 500))
    assert task.train is not None and task.validation is not None
    assert len(task.train) == 3 * 450 and len(task.validation) == 3 * 50
    assert task.main_metric == "translation_accuracy"
    learned, held_out = ({text.split()[0] for text in each["text"]} for each in (task.train, task.validation))
    assert len(learned) == 450 and len(held_out) == 50 and not learned & held_out


def test_so_many_rows_are_taken_with_their_translations(tmp_path: Path) -> None:
    task = load(write(tmp_path / "all.csv", 100), max_train=5, max_validation=4)
    assert task.train is not None and task.validation is not None
    assert len(task.train) == 15 and len(task.validation) == 12


def test_a_file_of_its_own_is_held_out_parallel_or_scored_as_its_columns_say(tmp_path: Path) -> None:
    rows, held_out = write(tmp_path / "all.csv", 20), write(tmp_path / "held.csv", 5, first=20)
    task = load(rows, validation=held_out)
    assert task.train is not None and task.validation is not None
    assert len(task.train) == 60 and len(task.validation) == 15
    (tmp_path / "pairs.csv").write_text("text_a,text_b,score\n1 dogs,3 Hunde,1\nx,y,2\n")
    scored = load(rows, validation=tmp_path / "pairs.csv")
    assert scored.train is not None and scored.main_metric == "spearmanr"
    assert len(scored.train) == 3 * 18  # without the rows of "1 dogs" and "3 Hunde"


def test_a_folder_has_both_parts(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", 20)
    write(tmp_path / "validation.csv", 5, first=20)
    task = load(tmp_path)
    assert task.validation is not None and len(task.validation) == 15


def test_parallel_text_alone_is_there_to_be_measured_on(tmp_path: Path) -> None:
    task = load_pairs(write(tmp_path / "all.csv", 5), text="en", translations=["es"])
    assert task.train is None and task.validation is not None
    assert task.validation["text"][5:] == ["0 perros", "1 perros", "2 perros", "3 perros", "4 perros"]


@pytest.mark.parametrize("kind", [None, "single_label_classification"])
def test_translations_are_for_vectors(kind: str | None, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="translations are for sentence embeddings"):
        load_task(write(tmp_path / "all.csv", 5), text="en", translations="de", problem_type=kind)


def test_a_named_task_and_a_second_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="'mnli-sample' has no translations"):
        load("mnli-sample")
    with pytest.raises(RequestError, match="leave text_pair= out"):
        load(write(tmp_path / "all.csv", 5), text_pair="de")
