"""What stands on the page of a run: the verdict, what its data show, and a word on what they do not."""

import dataclasses
import re
import time
from html.parser import HTMLParser

import numpy as np
import pytest

from distilnlp.errors import RequestError
from distilnlp.html import Evidence, render_page
from distilnlp.html.page import write_page_file
from distilnlp.problems import get_problem
from distilnlp.report import plotting
from distilnlp.report.predictions import Predictions, read_predictions, write_predictions
from distilnlp.report.schema import Gain, OverSeeds, Report, Spread
from tests.html.conftest import HOSTILE, NAMES, a_run, answers, undrawn
from tests.problems.cases import CASES

pytest.importorskip("matplotlib", reason="the page's pictures are drawn with it")


class Read(HTMLParser):
    """Tags that are open, headings, cells and all text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.headings: list[str] = []
        self.cells: list[str] = []
        self.text = ""
        self.ids: list[str] = []
        self._open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open.append(tag)
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag == "h2":
            self.headings.append("")
        elif tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag: str) -> None:
        while tag in self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if {"script", "style"} & set(self._open):
            return
        self.text += data
        if "h2" in self._open:
            self.headings[-1] += data
        if {"td", "th"} & set(self._open):
            self.cells[-1] += data


@pytest.fixture(scope="module")
def plain(finished: Evidence) -> Read:
    """The page with few pictures."""
    return Read(render_page(undrawn(finished)))


@pytest.fixture(scope="module")
def page(finished: Evidence) -> Read:
    return Read(render_page(finished))


def test_the_first_sentence_says_what_is_kept_whether_the_gain_is_noise_and_what_it_costs(page: Read):
    told = " ".join(page.text.split())
    assert "student keeps 103.8 % of its teacher's accuracy (0.900 of 0.867)" in told
    assert "40 % of its parameters and 2.5 times its speed" in told
    assert "0.217 above that of control, which learned without a teacher: above the noise (paired bootstrap" in told


def test_a_gain_within_the_noise_is_called_so(finished: Evidence):
    alike = {**finished.predictions, "control": finished.predictions["student"]}
    evidence = dataclasses.replace(undrawn(finished), predictions=alike)
    assert "not above the noise" in render_page(evidence)


def test_of_several_seeds_the_verdict_is_of_their_mean_and_the_rest_of_the_first(finished: Evidence):
    teacher, control, student = finished.report.stages
    gain = Gain(control="control", differences=[0.2, 0.3], interval=(0.04, 0.46), mean=0.25, deviation=0.07)
    over = OverSeeds(
        seeds=[1, 2],
        stages=["student", "student-seed-2"],
        scores=[0.9, 0.8],
        score=Spread(mean=0.85, deviation=0.07),
        gain=gain,
    )
    again = {"stage": "student-seed-2", "seed": 2, "repeats": "student", "score": 0.8}
    stages = [teacher, control, student.model_copy(update={"over_seeds": over}), student.model_copy(update=again)]
    evidence = dataclasses.replace(finished, report=finished.report.model_copy(update={"stages": stages}))
    told = " ".join(Read(render_page(undrawn(evidence))).text.split())
    assert "student keeps 98.1 % of its teacher's accuracy (mean of 2 seeds 0.850 of 0.867)" in told
    assert "0.250 above that of control, which learned without a teacher: above the noise between seeds" in told
    assert "Confusion of student:" in told
    within = over.model_copy(update={"gain": gain.model_copy(update={"interval": (-0.1, 0.6)})})
    stages[2] = student.model_copy(update={"over_seeds": within})
    evidence = dataclasses.replace(finished, report=finished.report.model_copy(update={"stages": stages}))
    assert "not above the noise between seeds" in render_page(undrawn(evidence))


def test_all_that_the_run_has_kept_is_shown(page: Read):
    assert page.headings == [
        "Models",
        "Score against cost",
        "Losses",
        "Learning curves",
        "Time of a step",
        "Classes",
        "Calibration",
        "Agreement by the teacher's confidence",
        "Where student and teacher differ most",
        "Likeness of layers",
        "Layers",
        "How it was made",
    ]


def test_no_name_stands_twice_in_the_page(page: Read):
    assert len(page.ids) == len(set(page.ids))


def test_what_there_are_no_data_for_is_left_out_with_a_word(finished: Evidence):
    bare = Evidence(report=finished.report, missing={"texts": "the data of the run cannot be read (gone)"})
    read = Read(render_page(bare))
    assert read.headings == ["Models", "Score against cost", "How it was made", "Left out"]
    assert "Losses: no log was kept." in read.text
    assert "Where student and teacher differ most: the data of the run cannot be read (gone)." in read.text


def test_a_run_of_one_model_gives_a_page(finished: Evidence):
    alone = finished.report.model_copy(update={"stages": [finished.report.stages[0]]})
    read = Read(render_page(dataclasses.replace(finished, report=alone, histories={})))
    assert "teacher has accuracy 0.867 on the held-out examples." in read.text


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_label_changes_its_own_cells_alone(plain: Read, kind: str):
    changed = Read(render_page(undrawn(a_run((HOSTILE[kind], *NAMES[1:])))))
    assert changed.headings == plain.headings
    assert len(changed.cells) == len(plain.cells)
    others = [(old, new) for old, new in zip(plain.cells, changed.cells, strict=True) if NAMES[0] not in old]
    assert all(old == new for old, new in others)


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_a_hostile_text_holds_cannot_be_unseen_or_run(kind: str):
    page = render_page(undrawn(a_run(text=HOSTILE[kind])))
    assert page.count("<script") == 1
    assert "<img" not in page
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", page)


def test_a_long_text_is_cut():
    read = Read(render_page(undrawn(a_run(text=HOSTILE["one word"]))))
    assert "(10,002 characters)" in read.text
    assert max(map(len, read.cells)) < 400


def test_texts_that_are_private_are_not_in_the_page():
    page = render_page(undrawn(a_run(text="a secret")), texts=0)
    assert "a secret" not in page
    assert "the held-out texts are not to be shown" in page


def test_at_most_fifty_texts_are_shown():
    assert render_page(undrawn(a_run(text="a secret"))).count("a secret") == 50


def test_a_page_without_the_drawing_library_says_how_to_get_it(finished: Evidence, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(plotting, "find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"needs matplotlib.*pip install 'distilnlp\[report\]'"):
        render_page(finished)


def test_a_page_goes_into_a_folder_that_is_there(tmp_path):
    with pytest.raises(RequestError, match="is not a folder"):
        write_page_file(tmp_path / "nowhere" / "report.html", "page")
    with pytest.raises(RequestError, match="is a folder"):
        write_page_file(tmp_path, "page")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_kind_of_task_gives_a_page(finished: Evidence, case):
    """Answers as the kind's own suite has them; the student's are a little off."""
    problem = get_problem(case.name)
    logits = np.array(case.logits, dtype=np.float32)
    batch = case.batch[0] if problem.rows in ("token", "list") and len(case.batch) == 1 else case.batch
    labels = np.array(batch) if case.found is None else object_array([(each,) for each in case.found])
    rows = np.zeros(len(logits), dtype=np.int64) if problem.rows in ("token", "list") else None
    given = {
        name: Predictions.of(labels, logits * scale, rows=rows, found=case.found)
        for name, scale in (("teacher", 1.0), ("control", 0.9), ("student", 0.8))
    }
    stages = [
        row.model_copy(update={"problem_type": case.name, "main_metric": problem.main_metric, "cost": None})
        for row in finished.report.stages
    ]
    report = Report(stages=stages, problem_type=case.name, main_metric=problem.main_metric)
    texts = [("one two three", ["a", "b", "c"])] * 3 if problem.rows == "list" else [("one two three",)] * 3
    evidence = Evidence(
        report=report,
        predictions=given,
        teachers={"student": "teacher"},
        texts=dict.fromkeys(given, lambda places: [texts[place] for place in places]),
        label_names=dict.fromkeys(given, case.names or ()),
    )
    read = Read(render_page(evidence))
    assert read.headings[0] == "Models"
    assert "student" in read.text


def object_array(values: list[object]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


@pytest.mark.slow
def test_a_hundred_thousand_held_out_rows_give_a_small_page_in_seconds(finished: Evidence, tmp_path):
    """Of the answers in files, to the text of the page; seconds of the processor."""
    for seed, name in enumerate(finished.predictions):
        write_predictions(tmp_path / name, answers(100_000, 0.1 + 0.1 * seed, seed))
    began = time.process_time()
    read = {name: read_predictions(tmp_path / name) for name in finished.predictions}
    page = render_page(dataclasses.replace(finished, predictions=read))
    assert time.process_time() - began < 10
    assert len(page.encode()) < 2_000_000
