"""The models of a run: which one it was made for, and where each lies."""

import json
from pathlib import Path

import pytest

from distilnlp import Run
from distilnlp.errors import RequestError
from distilnlp.report.schema import Cost, ExportedFile
from tests.api.test_plots import row, run_of
from tests.hub_models import PUBLISHED, RECORDS, REPO, TOKEN, make_run, start
from tests.hub_server import hub_server

RECIPE = {"seed": 1, "seeds": [1, 2], "stages": {"teacher": {}, "student": {"teacher": "teacher"}}}
FILE = ExportedFile(file="onnx/model.onnx", of="student", opset=18, difference=0.0, compared=1)


@pytest.fixture
def seeds(tmp_path: Path) -> Run:
    rows = [row("teacher", role="teacher", seconds=4.0), row("student", seconds=2.0)]
    run = run_of(tmp_path, *rows, row("student-seed-2", seconds=2.5, repeats="student"), recipe=RECIPE)
    for name in run.models:
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").touch()
    return run


def test_of_several_seeds_it_is_the_first_as_for_publishing(seeds):
    assert seeds.model == "student"
    assert seeds.path_of(seeds.model) == str(seeds.folder / "student")
    assert seeds.path_of("student-seed-2") == str(seeds.folder / "student-seed-2")
    assert seeds.seconds == 8.5


@pytest.mark.parametrize("name", ["student", "student-seed-2"])
def test_a_model_that_is_gone_is_not_looked_for_on_the_hub(name, seeds):
    (seeds.folder / name / "metrics.json").unlink()
    with pytest.raises(RequestError, match=f"the model '{name}' is not in {seeds.folder}"):
        seeds.load(name)


def test_a_teacher_from_outside_is_a_folder_or_an_id_and_recorded_answers_are_none(tmp_path):
    outside = row("owner/teacher", role="teacher", cost=Cost(parameters=1))
    run = run_of(tmp_path, outside, row("column prob_*", role="teacher"), recipe=RECIPE)
    assert run.path_of("owner/teacher") == "owner/teacher"
    with pytest.raises(RequestError, match=r"'column prob_\*' of .* stands for answers"):
        run.load("column prob_*")


def test_the_models_of_an_export_are_its_files(tmp_path):
    run = run_of(tmp_path, row("student"), row("onnx-fp32", role=None, exported=FILE), recipe=RECIPE)
    assert run.model == "onnx-fp32"
    assert run.path_of(run.model) == str(tmp_path / "onnx" / "model.onnx")
    with pytest.raises(RequestError, match="the model 'student' is not in"):
        _ = run.student


def test_the_time_of_a_training_with_several_tasks_counts_once(tmp_path):
    rows = [row(f"student-{task}", seconds=3.0, together="student") for task in ("a", "b")]
    assert run_of(tmp_path, *rows, row("column probs", role="teacher")).seconds == 3.0


@pytest.mark.parametrize("name", [3, None, ["student"]])
def test_what_is_no_name_is_refused(name, seeds):
    for call in (seeds.path_of, seeds.load, seeds.plot):
        with pytest.raises(RequestError, match="unknown"):
            call(name)
    with pytest.raises(RequestError, match="folder is"):
        Run(name)


# The client of the Hub reads its environment when it is imported, so it pushes in a process of its own.
PUSH = """
import json, sys
import distilnlp as dn
folder, *calls = json.loads(sys.stdin.readline())
run = dn.load_run(folder)
for call in calls:
    try:
        print(json.dumps(run.push(**call)))
    except dn.errors.RequestError as error:
        print(json.dumps(str(error)))
"""


@pytest.mark.slow
def test_a_run_is_published_as_by_the_command_the_last_model_or_the_one_that_is_named(tmp_path: Path):
    run = make_run(tmp_path / "run")
    calls = [{"repo_id": REPO, "private": True}, {"repo_id": "ada/large", "stage": "teacher"}]
    with hub_server() as server:
        server.users[TOKEN] = "ada"
        with start(PUSH, tmp_path / "home", HF_ENDPOINT=server.url, HF_TOKEN=TOKEN) as process:
            asked = [str(run), *calls, {"repo_id": "ada/none", "stage": "studnet"}, {"repo_id": "eve/film"}]
            said, _ = process.communicate(json.dumps(asked))
    *addresses, unknown, forbidden = map(json.loads, said.splitlines())
    assert addresses == [f"{server.url}/{REPO}", f"{server.url}/ada/large"]
    assert "did you mean 'student'" in unknown
    assert "eve" in forbidden
    assert server.repos.keys() == {REPO, "ada/large"}
    student, teacher = (server.repos[call["repo_id"]] for call in calls)
    assert (student.private, teacher.private) == (True, False)
    assert set(student.head.files) == {".gitattributes", *PUBLISHED, *RECORDS}
    for name, repo in (("student", student), ("teacher", teacher)):
        assert repo.head.files["model.safetensors"] == (run / name / "model.safetensors").read_bytes()
