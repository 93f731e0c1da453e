"""The benchmarks do what they say: ratios of what ran together, and a script that runs to its end."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import _harness, cache, kinds, knowledge, overhead, serving, startup, tasks
from benchmarks._harness import Spread, alternate, ratio
from distilnlp.data import tokenize
from distilnlp.problems import get_problem
from distilnlp.recipe import load_recipe
from distilnlp.run.plan import make_plan


def test_sides_take_turns_and_warm_up_is_not_counted() -> None:
    order: list[str] = []

    def side(name: str) -> float:
        order.append(name)
        return float(len(order))

    costs = alternate({"a": lambda: side("a"), "b": lambda: side("b")}, rounds=2)
    assert order == ["a", "b"] * 3
    assert costs == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


def test_a_ratio_is_of_the_medians_and_its_spread_is_round_by_round() -> None:
    assert ratio([2.0, 4.0, 9.0], [1.0, 2.0, 3.0]) == Spread(2.0, 2.0, 3.0)


@pytest.mark.slow
def test_peak_memory_is_what_was_taken_in_between() -> None:
    """In a process of its own, as every benchmark is: what another test has let go may leave memory meanwhile."""
    code = "from benchmarks import _harness; print(_harness.peak_growth_mb(lambda: len(bytearray(200_000_000))))"
    done = subprocess.run([sys.executable, "-c", code], cwd=_harness.ROOT, capture_output=True, text=True, check=True)
    assert 150 < float(done.stdout) < 260


def test_the_leaderboard_compares_a_method_with_the_control_of_the_same_seeds() -> None:
    scores = {"t/control/1": 0.5, "t/control/2": 0.9, "t/pkd/1": 0.6, "t/rkd/1": 0.7, "t/rkd/2": 0.8, "u/pkd/1": 0.1}
    runs: dict[str, dict[str, object]] = {
        key: {"metric": "f1", "score": score, "seconds": 2.0 + 2 * key.endswith("2")} for key, score in scores.items()
    }
    runs["t/rkd/1"]["MB"] = 700  # runs of before it was measured have none
    rows = {row["method"]: row for row in knowledge.rows_of(runs, "t")}
    assert list(rows) == ["rkd", "control", "pkd"]
    assert (rows["pkd"]["over control"], rows["pkd"]["deviation"], rows["pkd"]["seeds"]) == (0.1, "-", 1)
    assert (rows["rkd"]["f1"], rows["rkd"]["over control"]) == (0.75, 0.05)
    assert (rows["rkd"]["seconds"], rows["rkd"]["MB"], rows["pkd"]["MB"]) == (3, 700, "-")


@pytest.mark.parametrize("family", ["methods", "schemes"])
def test_a_leaderboard_is_of_all_recipes_of_a_family(family: str) -> None:
    own_tasks = {"multi-task", "lifelong"}  # so they have no score on one that is given
    written = {path.stem for path in (Path("tasks") / family).glob("[a-z]*.yaml")}
    assert set(knowledge.members(family)) == written - own_tasks


def test_schemes_are_compared_with_a_control_and_a_plain_student_of_their_own_training() -> None:
    steps = {
        name: load_recipe(knowledge.recipe_of("schemes", name)).stages[stage].training["num_train_epochs"]
        for name, stage in ((knowledge.CONTROL, "control"), (knowledge.PLAIN, "student"), ("mean-teacher", "student"))
    }
    assert len(set(steps.values())) == 1, steps


def test_of_a_scheme_only_the_stages_are_run_that_its_last_one_needs() -> None:
    """What stands in a recipe to be compared with costs nothing in the leaderboard."""
    plan = make_plan(load_recipe("schemes/ensemble"))
    assert {"direct", "control"} < set(plan.stages)
    assert knowledge._with_needs(plan, "student") == {"teacher", "second", "small", "student"}


def test_a_teacher_of_the_leaderboard_gets_the_rows_that_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[object, ...]] = []

    def pretend(*command: object) -> dict[str, object]:
        asked.append(command[1:])
        return {"metric": "accuracy", "score": 0.5, "seconds": 1.0, "MB": 10}

    monkeypatch.setattr(knowledge, "in_process", pretend)
    monkeypatch.setattr(knowledge, "SCRATCH", tmp_path)
    monkeypatch.setattr(knowledge, "results_folder", lambda: tmp_path)
    options = "--tasks rte --methods hinton --rows 8 --teacher-rows 64 --validation-rows 32 --seeds 1 --jobs 1"
    knowledge.leaderboard(knowledge._parse(options.split()))
    assert asked == [
        ("--teacher-rows", 64, "--validation-rows", 32, "--teacher", "rte"),
        ("--rows", 8, "--validation-rows", 32, "--family", "methods", "--one", "control", "rte", 1),
        ("--rows", 8, "--validation-rows", 32, "--family", "methods", "--one", "hinton", "rte", 1),
    ]


def test_the_table_of_tasks_has_the_mean_and_the_least_of_the_shares_that_students_keep() -> None:
    def made(student: float) -> dict[str, object]:
        roles = {"teacher": 0.8, "control": 0.6, "student": student}
        return {"metric": "spearmanr", **{role: {"score": score, "seconds": 2.0} for role, score in roles.items()}}

    (row,) = tasks.rows_of({"embeddings/1": made(0.8), "embeddings/2": made(0.72)})
    assert (row["task"], row["ratio"], row["least"], row["seeds"]) == ("embeddings", 0.95, 0.9, 2)
    assert (row["teacher"], row["control"], row["student"], row["seconds"]) == (0.8, 0.6, 0.76, 2)


def test_the_costs_of_each_kind_are_told_over_those_of_a_classification() -> None:
    costs = {"distil": {"classes": [2.0, 4.0], "vectors": [3.0, 3.0]}}
    (_, row) = kinds.rows_of(costs)
    assert (row["kind"], row["distil us"], row["distil x"]) == ("vectors", 3.0, Spread(0.75, 1.0, 1.5))


@pytest.mark.slow
@pytest.mark.parametrize("name", kinds.KINDS)
def test_all_kinds_are_measured_on_sequences_of_one_length(name: str) -> None:
    kind, words = kinds.KINDS[name], kinds.Words(kinds.KINDS[name].vocabulary, seed=0)
    rows = tokenize(kind.examples(16, 24, words), words.tokenizer, 24, problem=get_problem(kind.problem))
    inputs = [each for ids in rows["input_ids"] for each in (ids if isinstance(ids[0], list) else [ids])]
    lengths = [len(ids) for ids in inputs]
    assert {*lengths[:-1]} == {24}  # the last block of masked words is shorter
    assert abs(sum(lengths) - 16 * 24) <= 24


def test_a_command_that_fails_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(startup.SIDES, "broken", (["-c", "raise SystemExit('no such module')"], None))
    with pytest.raises(RuntimeError, match="broken: exit status 1 in place of 0; it said: no such module"):
        startup.start("broken")
    startup.start("python, nothing imported")


@pytest.mark.slow
def test_the_profile_of_a_step_finds_every_part_on_both_sides() -> None:
    task, tokenizer = _harness.load_data(24), _harness.make_tokenizer()
    teacher = _harness.make_teacher(task)
    data = tokenize(task.train, tokenizer, max_length=32)
    work = overhead.Work(data, tokenizer, teacher, _harness.make_student(teacher), batch_size=8, seed=0)
    for side in (overhead.trainer_side(work, profiled=True), overhead.bare_loop(work)):
        assert [part for part, seconds in side.profile().items() if seconds <= 0] == []


@pytest.mark.slow
def test_a_benchmark_runs_and_writes_its_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_harness, "SCRATCH", tmp_path)
    monkeypatch.setattr(_harness, "ROOT", tmp_path)
    cache.main(["--quick", "--threads", "1"])
    written = json.loads((tmp_path / "results" / "cache.json").read_text())
    assert "cached teacher" in capsys.readouterr().out
    assert {row["side"] for row in written["rows"]} == {"cached teacher", "no teacher", "live teacher"}
    assert written["machine"]["cores"] and written["versions"]["torch"]
    assert written["fill"][0]["bytes/example"] > written["fill"][1]["bytes/example"] > 0


@pytest.mark.slow
def test_serving_is_measured_of_the_same_texts_in_torch_and_onnx(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_harness, "SCRATCH", tmp_path)
    monkeypatch.setattr(_harness, "ROOT", tmp_path)
    serving.main(["--quick", "--texts", "8", "--formats", "onnx"])
    written = json.loads((tmp_path / "results" / "serving.json").read_text())
    assert [row["model"] for row in written["rows"]] == [
        serving.TEACHER,
        serving.STUDENT,
        serving.FP32,
        serving.INT8,
    ] * 2
    assert written["arguments"]["threads"] == written["machine"]["threads"] == 1
    sizes = {row["model"]: row["MB"] for row in written["rows"]}
    assert 3 * sizes[serving.INT8] < sizes[serving.FP32] < sizes[serving.TEACHER]
