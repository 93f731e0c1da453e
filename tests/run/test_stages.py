"""Lists of stages: chains, checkpoints that teach, a teacher that is chosen, and runs of some of the stages."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from distilnlp.errors import RequestError
from distilnlp.recipe import make_recipe
from distilnlp.report.schema import read_report, read_stage_result
from distilnlp.run import run_recipe
from distilnlp.run.folder import RunFolder
from distilnlp.run.plan import make_plan
from distilnlp.run.progress import StageProgress
from distilnlp.training.trainer import DistillationTrainer
from tests.killing import largest_difference as difference_of_files
from tests.run.conftest import TRAINING

KD = {"hard_label": {"weight": 0.5}, "soft_target": {"weight": 0.5}}


def pupil(teacher: Any, layers: int = 1, **training: Any) -> dict[str, Any]:
    return {
        "teacher": teacher,
        "student": {"from": "teacher", "layers": layers},
        "objective": KD,
        "training": {**TRAINING, **training},
    }


def with_stages(values: dict[str, Any], **stages: Any) -> dict[str, Any]:
    return {**values, "stages": {"teacher": values["stages"]["teacher"], **stages}}


def run(values: dict[str, Any], folder: Path, **settings: Any) -> list[str]:
    """Run it and return what was said."""
    said: list[str] = []
    run_recipe(make_recipe(values, name="films"), folder, say=said.append, **settings)
    return said


def largest_difference(first: Path, second: Path) -> float:
    return difference_of_files(first / "model.safetensors", second / "model.safetensors")


def checkpoints(stage: Path) -> list[str]:
    return sorted(path.name for path in stage.glob("checkpoint-*"))


@pytest.fixture
def chain(values: dict[str, Any]) -> dict[str, Any]:
    """A teacher of three layers, an assistant of two, a student of one."""
    return with_stages(values, ta=pupil("teacher", 2), student=pupil("ta", 1))


# ---- chains ----


@pytest.mark.slow
def test_a_chain_runs_in_order_and_each_stage_teaches_the_next(chain, whole):
    folder, said = whole(chain)
    assert "plan  teacher -> ta -> student" in said
    assert [line.partition(":")[0] for line in said if "distilling from" in line] == ["ta", "student"]
    assert any(line.startswith("student: distilling from ta") for line in said)
    assert "```mermaid\ngraph LR\n" in (folder / "README.md").read_text()


@pytest.mark.slow
def test_a_chain_of_one_hop_is_plain_distillation(values, tmp_path):
    """A stage of the chain gets the same weights as the student of a recipe without any other."""
    run(with_stages(values, ta=pupil("teacher", 2), student=pupil("teacher", 1)), tmp_path / "chain")
    run(with_stages(values, student=pupil("teacher", 1)), tmp_path / "plain")
    assert largest_difference(tmp_path / "chain" / "student", tmp_path / "plain" / "student") == 0


def test_a_chain_that_does_not_go_down_in_size_is_said(values, tmp_path, caplog):
    grows = with_stages(values, ta=pupil("teacher", 1), student=pupil("ta", 2))
    run(grows, tmp_path, stages="teacher")
    assert [record for record in caplog.messages if "sizes should decrease" in record] != []


@pytest.mark.parametrize("layers", [(2, 1), (3, 3)], ids=["goes down", "generations"])
def test_a_chain_that_goes_down_or_has_one_size_is_not(values, tmp_path, caplog, layers):
    run(
        with_stages(values, ta=pupil("teacher", layers[0]), student=pupil("ta", layers[1])),
        tmp_path,
        stages="..teacher",
    )
    assert not [record for record in caplog.messages if "sizes should decrease" in record]


@pytest.mark.parametrize("named", ["student", "student@checkpoint-2", "ta", "ta@checkpoint-2"])
def test_a_stage_that_comes_later_or_is_the_stage_itself_is_no_teacher(values, named):
    with pytest.raises(RequestError, match="does not come earlier"):
        make_recipe(with_stages(values, ta=pupil(named), student=pupil("ta")), name="films")


def test_a_folder_that_is_called_as_a_later_stage_is_not_taken_for_it(values, tmp_path, monkeypatch):
    (tmp_path / "student").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RequestError, match="does not come earlier"):
        make_recipe(with_stages(values, ta=pupil("student"), student=pupil("ta")), name="films")


# ---- some of the stages ----


@pytest.mark.slow
def test_the_stages_of_a_chain_can_be_run_one_after_the_other(chain, tmp_path, whole):
    assert "still to come: ta, student" in run(chain, tmp_path / "parts", stages="teacher")[-1]
    assert not (tmp_path / "parts" / "report.json").exists()
    run(chain, tmp_path / "parts", stages="ta")
    run(chain, tmp_path / "parts", stages="student..")
    assert read_report(tmp_path / "parts" / "report.json").stage("student").score is not None
    for name in ("ta", "student"):
        assert largest_difference(whole(chain)[0] / name, tmp_path / "parts" / name) == 0


@pytest.mark.parametrize(("stages", "missing"), [("ta", "teacher"), ("student", "teacher"), ("teacher,student", "ta")])
def test_a_stage_is_not_run_before_those_that_it_is_made_of(chain, tmp_path, stages, missing):
    with pytest.raises(RequestError, match=f"needs '{missing}'"):
        run(chain, tmp_path, stages=stages)
    assert not tmp_path.joinpath("recipe.yaml").exists()


def test_fresh_deletes_nothing_that_the_selected_stages_need(chain, tmp_path):
    run(chain, tmp_path, stages="teacher")
    with pytest.raises(RequestError, match="with --fresh nothing is finished"):
        run(chain, tmp_path, stages="ta", fresh=True)
    assert RunFolder(tmp_path).is_finished("teacher")


@pytest.mark.slow
@pytest.mark.parametrize("broken", ["teacher", "ta", "student"])
def test_a_chain_that_breaks_off_goes_on_in_the_stage_in_which_it_was(values, tmp_path, monkeypatch, broken, whole):
    """Its assistant learns from a checkpoint, which is written before the break or after it."""
    taught = with_stages(values, ta=pupil("teacher@checkpoint-5", 2), student=pupil("ta@checkpoint-1", 1))
    step_end = StageProgress.on_step_end

    def break_at_4(self, args, state, control, **kwargs):
        step_end(self, args, state, control, **kwargs)
        if self.stage == broken and state.global_step == 4:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(StageProgress, "on_step_end", break_at_4)
        with pytest.raises(KeyboardInterrupt):
            run(taught, tmp_path / "broken")
    said = run(taught, tmp_path / "broken")
    assert any(line.startswith(broken) and line.endswith(", from checkpoint-2") for line in said)
    for name in taught["stages"]:
        assert largest_difference(whole(taught)[0] / name, tmp_path / "broken" / name) == 0
        assert checkpoints(tmp_path / "broken" / name) == []


# ---- checkpoints that teach ----


@pytest.mark.slow
def test_a_checkpoint_of_a_stage_teaches(values, tmp_path, monkeypatch):
    """Its weights, though ``save_total_limit`` is 1 and no ``save_steps`` falls on it; afterwards it is gone."""
    early = pupil("teacher@checkpoint-3", load_best_model_at_end=False)
    both = with_stages(values, early=early, late=pupil("teacher"))
    run(both, tmp_path, stages="teacher")
    assert checkpoints(tmp_path / "teacher") == ["checkpoint-3"]
    teaching = shutil.copytree(tmp_path / "teacher" / "checkpoint-3", tmp_path.parent / f"{tmp_path.name}-saved")
    seen = []
    train = DistillationTrainer.train

    def noting(self, *args, **kwargs):
        seen.append({name: each.clone() for name, each in self.teacher.model.state_dict().items()})
        return train(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(DistillationTrainer, "train", noting)
        run(both, tmp_path, stages="early")
    from distilnlp.teachers import load_teacher

    expected = load_teacher(teaching).model.state_dict()
    assert all(torch.equal(each, expected[name]) for name, each in seen[-1].items())
    assert checkpoints(tmp_path / "teacher") == []
    run(both, tmp_path)
    assert largest_difference(tmp_path / "early", tmp_path / "late") > 0


def test_a_stage_starts_from_a_checkpoint(values, tmp_path):
    goes_on = {"model": "teacher@checkpoint-2", "training": {**TRAINING, "max_steps": 1, "learning_rate": 1e-9}}
    said = run(with_stages(values, further=goes_on), tmp_path)
    assert "teacher; further (from teacher@checkpoint-2)" in said[1]
    assert largest_difference(tmp_path / "further", tmp_path / "teacher") > 1e-4


@pytest.mark.slow
def test_checkpoints_that_teach_are_kept_until_nobody_needs_them(values, tmp_path):
    route = with_stages(
        values,
        first=pupil("teacher@checkpoint-2"),
        second={**pupil("teacher@checkpoint-4"), "student": None, "model": "first"},
    )
    del route["stages"]["second"]["student"]
    run(route, tmp_path, stages="teacher")
    assert checkpoints(tmp_path / "teacher") == ["checkpoint-2", "checkpoint-4"]
    run(route, tmp_path, stages="first")
    assert checkpoints(tmp_path / "teacher") == ["checkpoint-4"]
    run(route, tmp_path)
    assert checkpoints(tmp_path / "teacher") == []


@pytest.mark.parametrize(
    ("change", "model", "message"),
    [
        ({"training": {**TRAINING, "save_strategy": "no"}}, "teacher@checkpoint-2", "save_strategy: no"),
        ({"training": {**TRAINING, "max_steps": 5}}, "teacher@checkpoint-6", "ends after 5 steps"),
        ({"training": {}, "kind": "transform"}, "teacher@checkpoint-2", "is not trained"),
        ({"lora": {"r": 2}}, "teacher@checkpoint-2", "adapters"),
        ({}, "techer@checkpoint-2", "did you mean 'teacher'"),
    ],
)
def test_a_checkpoint_that_cannot_come_to_be_is_refused_in_the_plan(values, change, model, message):
    values["stages"]["teacher"].update(change)
    with pytest.raises(RequestError, match=message):
        make_plan(make_recipe(with_stages(values, student=pupil(model)), name="films"))


def test_a_step_beyond_the_epochs_is_refused_before_anything_is_trained(values, tmp_path):
    with pytest.raises(RequestError, match="can never be written: the stage 'teacher' ends after 6 steps"):
        run(with_stages(values, student=pupil("teacher@checkpoint-7")), tmp_path)
    assert not (tmp_path / "teacher").exists()


@pytest.mark.parametrize("damage", ["gone", "damaged"])
def test_a_checkpoint_that_is_not_whole_is_named_before_it_teaches(values, tmp_path, damage):
    taught = with_stages(values, student=pupil("teacher@checkpoint-3"))
    run(taught, tmp_path, stages="teacher")
    checkpoint = tmp_path / "teacher" / "checkpoint-3"
    if damage == "gone":
        shutil.rmtree(checkpoint)
    else:
        weights = checkpoint / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1] + b"\x07")
    with pytest.raises(RequestError, match="is not there" if damage == "gone" else "has a damaged model.safetensors"):
        run(taught, tmp_path)


# ---- a teacher that is chosen ----


@pytest.fixture
def chosen(values: dict[str, Any]) -> dict[str, Any]:
    """Two checkpoints of the teacher each teach a short student; a longer one learns from the better of them."""
    short = {"max_steps": 2}
    return with_stages(
        values,
        early=pupil("teacher@checkpoint-1", **short),
        late=pupil("teacher", **short),
        student=pupil({"of_best": ["early", "late"]}),
    )


@pytest.mark.slow
@pytest.mark.parametrize("best", ["early", "late"])
def test_the_teacher_of_the_best_student_is_taken(chosen, tmp_path, best):
    run(chosen, tmp_path, stages="..late")
    for name in ("early", "late"):
        place = tmp_path / name / "metrics.json"
        score = 0.75 if name == best else 0.5
        result = read_stage_result(place).model_copy(update={"score": score})
        RunFolder(tmp_path).finish(name, result, RunFolder(tmp_path).predictions(name), {})
    said = run(chosen, tmp_path)
    teacher = {"early": "teacher@checkpoint-1", "late": "teacher"}[best]
    assert any(f"distilling from {teacher} on" in line and f"{best} is the best of" in line for line in said)
    row = read_report(tmp_path / "report.json").stage("student")
    assert (row.chosen.teacher, row.chosen.by) == (teacher, best)
    assert row.chosen.scores[best] == 0.75
    assert f"taught by {teacher}" in (tmp_path / "README.md").read_text()
    assert checkpoints(tmp_path / "teacher") == []


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({"of_best": ["teacher", "early"]}, "'teacher' is not taught by one model"),
        ({"of_best": ["early", "nobody"]}, "'nobody' is no stage"),
        ({"of_best": ["early", "student"]}, "does not come earlier"),
        ({"of_best": ["early"]}, "at least 2"),
        ({"of_best": ["early", "late"], "model": "teacher"}, "one of 'model' and 'of_best'"),
        ({"of_best": ["early", "late"], "labels": ["a"]}, "labels"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(chosen, teacher, message):
    chosen["stages"]["student"]["teacher"] = teacher
    with pytest.raises(RequestError, match=message):
        make_recipe(chosen, name="films")
