"""The page that a run leaves, and the one that is made of its folder later; no model is asked for it."""

import json
import shutil
from pathlib import Path

import pytest

from distilnlp.errors import RequestError
from distilnlp.recipe import make_recipe
from distilnlp.report import plotting
from distilnlp.report.history import read_history
from distilnlp.report.step_time import read_step_time
from distilnlp.run import page as page_module
from distilnlp.run import run_recipe
from distilnlp.run.page import read_run, write_page
from tests.run.conftest import TRAINING, recipe_values

pytest.importorskip("matplotlib", reason="the page's pictures are drawn with it")
LOGGED = {**TRAINING, "logging_steps": 1, "eval_strategy": "steps", "eval_steps": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory, csv_file) -> Path:
    """Examples that no other test has."""
    return Path(shutil.copy(csv_file, tmp_path_factory.mktemp("own") / "films.csv"))


@pytest.fixture(scope="module")
def taught(tmp_path_factory, start_weights, data) -> Path:
    """A run in which a teacher of an earlier run, which is no stage, teaches."""
    folder = tmp_path_factory.mktemp("runs")
    values = recipe_values(start_weights, str(data))
    values["stages"]["teacher"]["training"] = values["stages"]["student"]["training"] = LOGGED
    stages = values["stages"]
    run_recipe(make_recipe({**values, "stages": {"teacher": stages["teacher"]}}, name="first"), folder / "first")
    teacher = str(folder / "first" / "teacher")
    stages = {name: {**stages[name]} for name in ("control", "student")}
    stages["student"] |= {"teacher": teacher, "student": {"from": teacher, "layers": 1}}
    values |= {"stages": stages, "report": {"html": True}}
    said: list[str] = []
    run_recipe(make_recipe(values, name="taught"), folder / "taught", say=said.append)
    assert f"page  {folder / 'taught' / 'report.html'}" in said
    return folder / "taught"


@pytest.fixture
def copied(taught: Path, tmp_path: Path) -> Path:
    return shutil.copytree(taught, tmp_path / "taught")


def text(path: Path) -> str:
    return path.read_text("utf-8")


@pytest.mark.slow
def test_the_page_of_a_run_shows_what_it_has_kept(taught: Path):
    page = text(taught / "report.html")
    titles = (
        "Losses",
        "Learning curves",
        "Time of a step",
        "Classes",
        "Calibration",
        "Where student and teacher differ most",
    )
    for title in (*titles, "Likeness of layers", "Layers"):
        assert f"{title}</h2>" in page
    assert "the film was" in page


@pytest.mark.slow
def test_the_same_page_is_made_of_the_folder_alone(copied: Path):
    before = text(copied / "report.html")
    (copied / "report.html").unlink()
    assert write_page(copied) == copied / "report.html"
    assert text(copied / "report.html") == before


@pytest.mark.slow
def test_what_a_teacher_answered_that_is_no_stage_is_kept(taught: Path):
    """And read from this run's folder: what stands in the teacher's own may be of other examples."""
    evidence = read_run(taught).evidence
    teacher = evidence.teachers["student"]
    assert (taught / "control" / "teacher-1.parquet").is_file() or (taught / "student" / "teacher-1.parquet").is_file()
    assert teacher not in evidence.histories
    assert evidence.report.stage(teacher).role == "teacher"
    assert evidence.predictions[teacher].labels.tolist() == evidence.predictions["student"].labels.tolist()


@pytest.mark.slow
def test_the_log_of_each_training_is_kept(taught: Path):
    history = read_history(taught / "student")
    assert history.steps("loss") == [1, 2, 3, 4, 5, 6]
    assert history.named("raw/") == ["hard_label", "soft_target", "hidden_state"]
    assert history.steps("eval_accuracy") == [2, 4, 6]
    assert history.made_of == [3]
    assert history.layers["hidden_state"] == [(1, 3)]


@pytest.mark.slow
def test_what_a_step_took_is_kept_beside_the_log_and_not_in_it(taught: Path):
    taken = read_step_time(taught / "student")
    assert (taken.device, taken.begun_at, taken.steps, taken.measured) == ("cpu", 0, 6, 6)
    assert all(taken.seconds[name] > 0 for name in ("data", "teacher", "student", "losses", "backward", "optimizer"))
    assert read_step_time(taught / "control").seconds["teacher"] == 0
    assert "step_time.json" in text(taught / "student" / "checksums.json")
    assert "optimizer" not in text(taught / "student" / "history.json")


@pytest.mark.slow
def test_texts_can_be_left_out_by_the_command_or_by_the_recipe(copied: Path, tmp_path: Path):
    assert "the film was" not in text(write_page(copied, tmp_path / "page.html", texts=False))
    report = json.loads(text(copied / "report.json"))
    report["recipe"]["report"]["texts"] = False
    (copied / "report.json").write_text(json.dumps(report))
    assert "the film was" not in text(write_page(copied))
    assert "the film was" in text(write_page(copied, texts=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "why"), [("text,label\na,good\nb,bad\n" * 9, "no longer those"), (None, "cannot be read")]
)
def test_data_that_are_gone_or_others_are_told_and_the_rest_is_shown(copied: Path, data: Path, changed, why: str):
    before = data.read_bytes()
    data.unlink() if changed is None else data.write_text(changed)
    try:
        page = text(write_page(copied))
    finally:
        data.write_bytes(before)
    assert why in page
    assert "Classes</h2>" in page
    assert "the film was" not in page


@pytest.mark.slow
def test_the_files_of_an_older_run_without_log_or_teacher_give_a_page(copied: Path):
    for path in (
        *copied.glob("*/history.json"),
        *copied.glob("*/step_time.json"),
        *copied.glob("*/teacher-*.parquet"),
    ):
        path.unlink()
    page = text(write_page(copied))
    assert "Losses: no log was kept" in page
    assert "Time of a step: no stage has kept it" in page
    assert "Classes</h2>" in page


@pytest.mark.slow
def test_without_the_drawing_library_a_run_ends_well_and_says_how_to_get_the_page(
    copied: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(page_module, "can_draw", lambda: False)
    (copied / "report.html").unlink()
    (copied / "report.json").unlink()
    from distilnlp.recipe import load_recipe

    said: list[str] = []
    assert run_recipe(load_recipe(copied / "recipe.yaml"), copied, say=said.append) is not None
    (line,) = (line for line in said if "report.html" in line)
    assert "matplotlib is not installed (pip install 'distilnlp[report]', then: distilnlp report" in line
    monkeypatch.setattr(plotting, "can_draw", lambda: False)
    with pytest.raises(RequestError, match="needs matplotlib"):
        write_page(copied)


@pytest.mark.parametrize("name", ["nowhere", "empty"])
def test_a_folder_that_is_no_finished_run_is_refused(tmp_path: Path, name: str):
    (tmp_path / "empty").mkdir()
    with pytest.raises(RequestError, match=r"is not a folder|holds no report\.json"):
        write_page(tmp_path / name)
