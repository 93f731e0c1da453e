"""A search: what it refuses before anything is trained, what it tries, how it goes on, and what it leaves."""

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import PreTrainedModel

from distilnlp.cli import main
from distilnlp.models.loading import load_config
from distilnlp.recipe import load_recipe
from distilnlp.report import cost
from distilnlp.report.front import Front
from distilnlp.run import search, search_students
from distilnlp.run.search import Goal, SearchSettings, search_student
from distilnlp.run.search_records import Spent, Teacher, Training
from distilnlp.run.search_space import Candidate, Space, whole_space
from distilnlp.run.search_students import Students, training_lengths
from distilnlp.run.served import Served
from tests.run.conftest import csv_file
from tests.tiny import tiny_model, tiny_tokenizer

__all__ = ["csv_file"]  # a fixture

QUICK = ["--epochs", "2", "--batch-size", "8", "--max-length", "16", "--precision", "fp32", "--accept-weak-teacher"]


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of random weights: what its students keep of its score is easily all."""
    folder = tmp_path_factory.mktemp("teacher") / "teacher"
    tiny_model("bert", layers=3, label_names=("good", "bad"), seed=3).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module", autouse=True)
def hardly_timed() -> Iterator[None]:
    """What is asked here is of sizes; `tests/report/test_timing.py` has what is to be said of times."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, "TURN_TEXTS", 2)
        patch.setattr(cost, "TURN_ROUNDS", (1, 2))
        yield


@pytest.fixture
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_students, "_can_export", lambda: False)


def searched(csv_file: str, teacher: str, output: Path, *options: str) -> int:
    return main(["search", csv_file, "--teacher", teacher, *QUICK, "-o", str(output), *options])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--keep", "0"], "--keep 0: a share of the teacher's score is needed, above 0 and at most 1"),
        (["--keep", "1.5"], "--keep 1.5"),
        (["--keep", "nan"], "--keep nan"),
        (["--keep", "0.9", "--max-ms", "0"], "--max-ms 0: a number above 0 is needed"),
        (["--keep", "0.9", "--speedup", "-2"], "--speedup -2"),
        (["--keep", "0.9", "--max-mb", "inf"], "--max-mb inf"),
        (["--keep", "0.9", "--minutes", "0"], "--minutes 0: a number above 0 is needed"),
        (["--keep", "0.9", "--processor-minutes", "nan"], "--processor-minutes nan: a number above 0 is needed"),
    ],
)
def test_a_goal_that_is_none_is_refused(options, said, csv_file, tmp_path, capsys):
    assert searched(csv_file, "no/teacher", tmp_path / "s", *options) == 2

    assert said in capsys.readouterr().err
    assert not (tmp_path / "s").exists()


def test_a_teacher_that_is_not_there_is_refused(csv_file, tmp_path, capsys, no_export):
    assert searched(csv_file, str(tmp_path / "none"), tmp_path / "s", "--keep", "0.9") == 2

    assert capsys.readouterr().err.count("\n") == 1


def test_texts_without_labels_are_learned_from_the_teacher_alone(csv_file, teacher, tmp_path, capsys):
    texts = tmp_path / "texts.csv"
    texts.write_text("text\n" + "\n".join(f"the film {row} was good" for row in range(20)) + "\n")
    options = ("--validation", csv_file, "--keep", "0.9", "--dry-run")

    assert searched(str(texts), teacher, tmp_path / "s", *options) == 0
    assert set(yaml.safe_load(capsys.readouterr().out)["stages"]["student"]["objective"]) == {
        "response",
        "hidden_state",
        "attention_scores",
    }


def test_without_optuna_it_says_what_to_install(csv_file, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(search.importlib.util, "find_spec", lambda name: None)

    assert searched(csv_file, "no/teacher", tmp_path / "s", "--keep", "0.9") == 2
    assert capsys.readouterr().err.rstrip().endswith("pip install 'distilnlp[search]'")


def test_a_folder_of_something_else_is_left_alone(csv_file, teacher, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")

    assert searched(csv_file, teacher, tmp_path, "--keep", "0.9", "--fresh") == 2
    assert "is no search and holds mine.txt" in capsys.readouterr().err
    assert [each.name for each in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.slow
def test_a_budget_that_no_student_meets_is_refused_by_measuring_and_nothing_is_trained(
    csv_file, teacher, tmp_path, capsys, no_export, monkeypatch
):
    monkeypatch.setattr(Students, "train", lambda *_: pytest.fail("a student is trained"))

    assert searched(csv_file, teacher, tmp_path / "s", "--keep", "0.5", "--speedup", "10000") == 2

    said = capsys.readouterr().err
    assert "--speedup cannot be met by any student: the nearest (" in said
    assert "times as fast as the teacher) and 0.0" in said


def held(place: Path) -> dict[str, Any]:
    return json.loads((place / "search.json").read_text())


@pytest.fixture(scope="module")
def found(csv_file, teacher, tmp_path_factory) -> Path:
    """The folder of a search that has found a student."""
    place = tmp_path_factory.mktemp("search") / "s"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search_students, "_can_export", lambda: False)
        assert searched(csv_file, teacher, place, "--keep", "0.5", "--max-mb", "0.09", "--trials", "2") == 0
    return place


@pytest.mark.slow
def test_a_search_ends_with_the_smallest_student_that_keeps_the_share_as_a_run(found):
    front = held(found)
    chosen = next(row for row in front["tried"] if row["chosen"])

    assert len(front["tried"]) == 2
    assert chosen["mb"] == min(row["mb"] for row in front["tried"] if row["share"] >= 0.5) <= 0.09
    assert front["outcome"].startswith(f"found {chosen['student']}: ")
    assert front["processor_minutes"] > 0
    assert (found / "run" / "student" / "model.safetensors").is_file()
    assert load_recipe(found / "recipe.yaml").to_dict() == load_recipe(found / "run" / "recipe.yaml").to_dict()
    assert not (found / "trials").exists()  # the weights of trials are not kept
    assert any((found / "teacher-answers").iterdir())


@pytest.mark.slow
def test_what_a_search_knows_is_not_found_out_again(found, csv_file, teacher, monkeypatch, capsys, no_export):
    before = held(found)
    for name in ("train", "served", "teacher"):
        monkeypatch.setattr(Students, name, lambda *_, name=name: pytest.fail(f"{name} again"))

    assert searched(csv_file, teacher, found, "--keep", "0.5", "--max-mb", "0.09", "--trials", "2") == 0
    assert held(found)["tried"] == before["tried"]
    assert "found  " in capsys.readouterr().out


@pytest.mark.slow
def test_a_search_that_noted_less_needs_another_folder(found, csv_file, teacher, capsys, no_export, monkeypatch):
    monkeypatch.setattr(search, "FORMAT", search.FORMAT + 1)
    assert searched(csv_file, teacher, found, "--keep", "0.5", "--max-mb", "0.09", "--trials", "2") == 2
    assert "holds a search with another format: give another folder" in capsys.readouterr().err


@pytest.mark.slow
def test_a_search_with_another_goal_needs_another_folder(found, csv_file, teacher, capsys, no_export):
    assert searched(csv_file, teacher, found, "--keep", "0.6") == 2
    assert "holds a search with another goal" in capsys.readouterr().err


@pytest.mark.slow(25)
def test_a_student_in_int8_is_exported_and_answers_as_it_was_scored(csv_file, teacher, tmp_path, capsys, monkeypatch):
    place = tmp_path / "s"
    monkeypatch.setattr(Space, "starts", lambda self, fits: [replace(self.plain, layers=1)])

    assert searched(csv_file, teacher, place, "--keep", "0.5", "--max-mb", "0.2", "--trials", "1") == 0

    capsys.readouterr()
    row = next(row for row in held(place)["tried"] if row["chosen"])
    assert row["candidate"]["int8"]
    assert row["mb"] == pytest.approx((place / "served" / "onnx" / "model_quantized.onnx").stat().st_size / 1e6)
    assert main(["evaluate", str(place / "served"), csv_file, "--max-length", "16", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["validation"]["accuracy"] == row["score"]


Scores = Callable[[Candidate, int], float]


@pytest.fixture
def nobody_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """No student is among the best of its length."""
    monkeypatch.setattr(search._Search, "_best", lambda self, steps: [])


@pytest.fixture
def imagine(teacher, monkeypatch) -> Callable[..., list[tuple[str, int]]]:
    """Searches whose students score what one says, and cost what their sizes are; a list of who was trained, how long.

    A training has 2 or 12 steps, and takes as many hours.
    """

    def set_up(scores: Scores, *, int8: bool = False) -> list[tuple[str, int]]:
        trained: list[tuple[str, int]] = []
        space = whole_space(load_config(teacher), {"answers": {"response": {}}}, int8=int8)

        def train(self: Students, space: Space, candidate: Candidate, steps: int) -> Training:
            trained.append((space.words(candidate), steps))
            (self.run_of(candidate, steps) / "student").mkdir(parents=True)
            return Training(candidate, steps, *[scores(candidate, steps)] * 2, 0.0, Spent(3600 * steps, 0))

        def served(self: Students, space: Space, candidate: Candidate) -> Served:
            ms = candidate.layers + candidate.units / 1000 + 0.01
            return Served(ms, ms, 10.0, (10 / ms, 10 / ms))

        monkeypatch.setattr(Students, "space", lambda self, say: space)
        monkeypatch.setattr(Students, "teacher", lambda self: Teacher("t", 1.0, 10.0, 10.0))
        monkeypatch.setattr(Students, "train", train)
        monkeypatch.setattr(Students, "served", served)
        monkeypatch.setattr(search, "training_lengths", lambda steps: [2, steps])
        return trained

    return set_up


@pytest.mark.slow
def test_where_no_student_keeps_the_share_it_says_so_and_which_comes_nearest(
    csv_file, teacher, tmp_path, capsys, imagine, nobody_goes_on
):
    """Three that were not trained in full are, before that is said."""
    trained = imagine(lambda candidate, steps: (candidate.layers + 1) / 10 + steps / 1000)

    assert searched(csv_file, teacher, tmp_path / "s", "--keep", "1", "--trials", "4") == 1

    out, said = capsys.readouterr()
    assert [(words, steps) for words, steps in trained if steps == 12] == [
        ("2 layers uniform, ffn 32, needed tokens", 12),
        ("2 layers uniform", 12),
        ("1 layer uniform", 12),
    ]
    assert "2 layers uniform: keeps 31.2% after its training in full" in out
    assert "no student of 4 met --keep 1: the nearest (2 layers uniform, ffn 32, needed tokens)" in said
    assert "keeps 31.2% after 12 steps" in said
    assert held(tmp_path / "s")["outcome"] in said
    assert load_recipe(tmp_path / "s" / "recipe.yaml").stages["student"].student.layers == 2
    assert not (tmp_path / "s" / "run").exists()


@pytest.mark.slow
def test_a_student_in_int8_that_has_learned_nothing_is_not_exported(csv_file, teacher, tmp_path, capsys, imagine):
    imagine(lambda candidate, steps: 0.0, int8=True)
    assert searched(csv_file, teacher, tmp_path / "s", "--keep", "0.9", "--trials", "1") == 1
    assert "keeps 0.0%" in capsys.readouterr().err


@pytest.mark.slow
def test_where_the_first_choice_falls_short_in_full_the_next_is_taken(
    csv_file, teacher, tmp_path, capsys, imagine, nobody_goes_on
):
    imagine(lambda candidate, steps: 0.02 if candidate.is_static and steps > 2 else 1.0)

    assert searched(csv_file, teacher, tmp_path / "s", "--keep", "0.9", "--trials", "3") == 0

    out = capsys.readouterr().out
    assert "training static in full\nstatic: keeps 2.0% after its training in full\ntraining 1 layer" in out
    chosen = next(row for row in held(tmp_path / "s")["tried"] if row["chosen"])
    assert chosen["student"].startswith("1 layer")
    assert (tmp_path / "s" / "run" / "student").is_dir()


@pytest.mark.slow
def test_what_is_over_the_budget_or_no_smaller_than_that_is_not_trained(
    csv_file, teacher, tmp_path, imagine, monkeypatch
):
    trained = imagine(lambda candidate, steps: 0.1)
    plain = [{"layers": 2}, {"layers": 3}, {"layers": 1}]
    monkeypatch.setattr(Space, "starts", lambda self, fits: [replace(self.plain, **each) for each in plain])

    assert searched(csv_file, teacher, tmp_path / "s", "--keep", "1", "--max-ms", "2", "--trials", "3") == 1

    assert trained[0] == ("1 layer uniform", 2)
    assert held(tmp_path / "s")["refused"][:2] == [
        "2 layers uniform: 2.07 ms (4.8x), 2.1 MB, over --max-ms",
        "3 layers: no smaller than 2 layers uniform, which is over --max-ms",
    ]


@pytest.fixture
def four(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Students that are tried first, in words."""
    plain = [{"layers": 1}, {"layers": 2}, {"layers": 1, "units": 32}, {"layers": 2, "units": 32}]
    monkeypatch.setattr(Space, "starts", lambda self, fits: [replace(self.plain, **each) for each in plain])
    return ["1 layer uniform", "2 layers uniform", "1 layer uniform, ffn 32", "2 layers uniform, ffn 32"]


@pytest.mark.slow
def test_all_that_are_tried_first_are_trained_shortly_before_the_best_of_them_goes_on(
    csv_file, teacher, tmp_path, imagine, four
):
    trained = imagine(lambda candidate, steps: candidate.layers / 10 + candidate.units / 1000)

    assert searched(csv_file, teacher, tmp_path / "s", "--keep", "1", "--trials", "4") == 1

    assert trained[:5] == [*((words, 2) for words in four), ("2 layers uniform", 12)]


@pytest.mark.slow
def test_who_was_left_behind_goes_on_when_there_are_more_of_whom_it_is_among_the_best_third(
    csv_file, teacher, tmp_path, imagine, four
):
    """Of six there are two that go on: of the four that were first, the second best."""

    def score(candidate: Candidate, steps: int) -> float:
        is_of_four = len({words for words, _ in trained}) <= 4
        return candidate.layers / 10 + candidate.units / 1000 if is_of_four else 0.0

    trained = imagine(score)

    assert searched(csv_file, teacher, tmp_path / "s", "--keep", "1", "--trials", "6") == 1

    first, second = [place for place, (_, steps) in enumerate(trained) if steps == 12][:2]
    assert (first, trained[first]) == (4, ("2 layers uniform", 12))
    assert (second, trained[second]) == (7, ("2 layers uniform, ffn 32", 12))


@pytest.mark.slow
def test_those_that_go_on_are_compared_before_one_of_them_is_trained_in_full(
    csv_file, teacher, tmp_path, imagine, monkeypatch
):
    """Of nine three go on, and of these one: the third, which was behind the others before."""
    plain = [{"layers": layers, "units": units} for layers in (1, 2, 3) for units in (32, 40, 64)]
    monkeypatch.setattr(Space, "starts", lambda self, fits: [replace(self.plain, **each) for each in plain])
    trained = imagine(
        lambda candidate, steps: (
            0.9 if steps > 2 and candidate.units == 32 else candidate.layers / 10 + candidate.units / 1000
        )
    )
    monkeypatch.setattr(search, "training_lengths", lambda steps: [2, 4, 12])

    assert searched(csv_file, teacher, tmp_path / "s", "--keep", "1", "--trials", "9") == 1

    assert [steps for _, steps in trained[:9]] == [2] * 9
    assert trained[9:13] == [
        ("3 layers", 4),
        ("3 layers, ffn 40", 4),
        ("3 layers, ffn 32", 4),
        ("3 layers, ffn 32", 12),
    ]


@pytest.mark.slow
def test_other_shapes_are_tried_with_what_made_the_best_one_good_before_it_goes_on(
    csv_file, teacher, tmp_path, imagine, monkeypatch
):
    plain = [{"layers": 1}, {"layers": 2}, {"layers": 2, "layer_map": "first", "rate": 4.0}]
    monkeypatch.setattr(
        Space,
        "starts",
        lambda self, fits: [*(replace(self.plain, **each) for each in plain), self.static],
    )
    trained = imagine(
        lambda candidate, steps: 0.6 if candidate.is_static else candidate.layers / 10 + candidate.rate / 100
    )

    assert searched(csv_file, teacher, tmp_path / "s", "--keep", "1", "--trials", "6") == 1

    assert trained[3:5] == [("static", 2), ("1 layer first, 4x learning rate", 2)]


@pytest.mark.slow
def test_who_is_next_to_the_best_is_tried_before_any_other_is_proposed(csv_file, teacher, tmp_path, imagine, four):
    trained = imagine(lambda candidate, steps: candidate.layers / 10 + candidate.units / 1000)

    assert searched(csv_file, teacher, tmp_path / "s", "--keep", "1", "--trials", "6") == 1

    new = dict.fromkeys(words for words, _ in trained if words not in four)
    assert [*new] == ["2 layers uniform, ffn 40", "2 layers uniform, 2x learning rate"]


def test_whose_timing_was_disturbed_is_timed_again(csv_file, teacher, tmp_path, imagine, four, monkeypatch):
    """Two layers were in time, so one layer is."""
    trained, timed = imagine(lambda candidate, steps: 0.1), []
    quietly = Students.served

    def served(self: Students, space: Space, candidate: Candidate) -> Served:
        timed.append(space.words(candidate))
        known = quietly(self, space, candidate)
        return replace(known, ms=9.0) if timed == ["1 layer uniform"] else known

    monkeypatch.setattr(Students, "served", served)
    monkeypatch.setattr(Space, "corners", lambda self: [replace(self.plain, layers=layers) for layers in (1, 2)])

    searched(csv_file, teacher, tmp_path / "s", "--keep", "1", "--max-ms", "3", "--trials", "1")

    assert timed.count("1 layer uniform") == 2
    assert ("1 layer uniform", 2) in trained


def test_of_a_longer_training_more_steps_are_expected_and_not_more_of_what_is_no_step(
    csv_file, teacher, tmp_path, imagine, four, monkeypatch
):
    """20 seconds, and 1 for each step."""
    imagine(lambda candidate, steps: 0.1)
    imagined, found = Students.train, []

    def train(self: Students, space: Space, candidate: Candidate, steps: int) -> Training:
        return replace(imagined(self, space, candidate, steps), spent=Spent(20 + steps, 2 * (20 + steps)))

    def tried(self: search._Search) -> None:
        for steps in (2, 4):
            self.records.keep_training(self.students.train(self.space, self.space.plain, steps))
            found.append([self._expected(self.space.plain, each).clock for each in (1, 4, 12)])
        assert self.space.static is not None
        self.records.keep_training(self.students.train(self.space, self.space.static, 2))
        found.append([self._expected(self.space.static, each).clock for each in (1, 4, 12)])

    monkeypatch.setattr(Students, "train", train)
    monkeypatch.setattr(search._Search, "try_students", tried)

    searched(csv_file, teacher, tmp_path / "s", "--keep", "1", "--trials", "1")

    assert found == [[22, 44, 66], [22, 24, 32], [22, 24, 32]]


@pytest.mark.slow
def test_no_training_is_begun_that_would_end_too_late(csv_file, teacher, tmp_path, capsys, imagine):
    """The first is, as nobody knows how long it takes; the second would not leave the time for one in full."""
    trained = imagine(lambda candidate, steps: 1.0)

    assert searched(csv_file, teacher, tmp_path / "s", "--keep", "0.5", "--trials", "4", "--minutes", "30") == 1

    out, said = capsys.readouterr()
    assert [steps for _, steps in trained] == [2]
    assert "no time for a training of 2 steps and one in full, of 12, after it: that would take 480.0 min" in out
    assert "no time was left to train another in full: more --minutes go on from here" in said


@pytest.mark.slow
def test_two_at_once_try_students_of_one_search_and_none_twice(found, tmp_path, imagine, monkeypatch):
    """Threads with open files of their own stand for processes. Each waits until both train; one ends the search."""
    trained = imagine(lambda candidate, steps: 1.0)
    imagined, both, at_work = Students.train, threading.Barrier(2), set()

    def train(self: Students, space: Space, candidate: Candidate, steps: int) -> Training:
        with suppress(threading.BrokenBarrierError):
            both.wait(10)
        both.abort()  # for the first training of each alone
        at_work.add(threading.get_ident())
        return imagined(self, space, candidate, steps)

    monkeypatch.setattr(Students, "train", train)
    said: list[str] = []

    def search_it() -> Front:
        settings = SearchSettings(trials=6)
        return search_student(load_recipe(found / "recipe.yaml"), tmp_path / "s", Goal(0.9), settings, say=said.append)

    with ThreadPoolExecutor(2) as pool:
        first, second = [each.result() for each in [pool.submit(search_it) for _ in range(2)]]

    assert first.chosen == second.chosen is not None
    assert sum("this one joins it" in line for line in said) == 1
    assert len(trained) == len({*trained}) >= 6
    assert len(at_work) == 2


@pytest.mark.slow
def test_the_short_trainings_of_a_search_tokenise_the_training_texts_once(found, tmp_path, monkeypatch, no_export):
    tokenize, rows = import_module("distilnlp.data.tokenize"), list[int]()  # of the package it is the function
    encoded = tokenize._encoded

    def counted(encoder: Any, dataset: Any, features: Any) -> Any:
        rows.append(len(dataset))
        return encoded(encoder, dataset, features)

    with search._entered(load_recipe(found / "recipe.yaml"), tmp_path / "s", False, print) as (students, _):
        space = students.space(print)
        monkeypatch.setattr(tokenize, "_encoded", counted)
        for rate in space.rates[:2]:
            students.train(space, replace(space.plain, layers=1, rate=rate), 1)

    assert students.task.train is not None
    assert rows.count(len(students.task.train)) == 1


@pytest.mark.slow
def test_a_student_is_measured_with_all_that_a_trained_one_has(csv_file, teacher, tmp_path, monkeypatch):
    """Of equal biases and norms, as a new model has them, an ONNX file has one: 0.05 of 16 MB were missing."""
    seen: list[PreTrainedModel] = []

    def size_and_speed(model: PreTrainedModel, *rest: Any, **settings: Any) -> Served:
        seen.append(model)
        return Served(1.0, 1.0, 10.0, (9.0, 11.0))

    monkeypatch.setattr(search_students, "size_and_speed", size_and_speed)
    assert searched(csv_file, teacher, tmp_path / "s", "--keep", "0.5", "--max-mb", "0.5") == 2

    students = seen[1:]  # the first is the teacher
    vectors = [each for model in students for each in model.parameters() if each.dim() == 1]
    assert vectors and all(len(each.unique()) > 1 or len(each) == 1 for each in vectors)


def test_trainings_grow_by_threes_up_to_the_full_one():
    assert training_lengths(900) == [100, 300, 900]
    assert training_lengths(160) == [17, 53, 160]
    assert training_lengths(90) == [10, 30, 90]
    assert training_lengths(29) == [29]
    assert training_lengths(1) == [1]
