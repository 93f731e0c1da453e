"""Recipes: complete, strict, and every message with its line."""

from pathlib import Path

import pytest
import yaml

from distilnlp.data.glue_table import GLUE
from distilnlp.errors import RequestError
from distilnlp.recipe import Recipe, find_recipe, load_recipe, make_recipe, recipe_schema, shipped_recipes

STAGE = {"model": "x", "training": {"seed": 1}}
VALUES = {"data": {"task": "mrpc"}, "stages": {"teacher": STAGE}}


def recipe_file(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


def refused(values, settings=()) -> str:
    with pytest.raises(RequestError) as caught:
        make_recipe(values, name="r", settings=settings)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", list(shipped_recipes()))
def test_every_shipped_recipe_reads_back_as_it_was_written(name, tmp_path: Path):
    recipe = load_recipe(name)
    assert recipe.name == name.rpartition("/")[2]
    again = load_recipe(recipe_file(tmp_path, recipe.to_yaml()))
    assert again.to_dict() == recipe.to_dict()


def test_there_is_a_short_recipe_for_every_glue_task():
    for task in GLUE:
        path = find_recipe(f"glue/{task}")
        assert load_recipe(path).data.task == task
        assert len(path.read_text().splitlines()) <= 15
        assert path.read_text().startswith("# "), "`distilnlp recipes` shows the first line"


# No labels teach a control, or the student or a stage before it learns from none.
TEXT_ALONE = ("embeddings/", "entities/", "masked-lm/")


@pytest.mark.parametrize(
    "name",
    [name for name in shipped_recipes() if not name.startswith((*TEXT_ALONE, "schemes/"))],
)
def test_the_control_is_the_student_without_its_teacher(name):
    """Of a recipe of two stages that learn, it takes as many epochs as both."""
    stages = load_recipe(name).stages
    assert [stage for stage in stages if stage != "random"][:3] == ["teacher", "control", "student"]
    control, taught = stages["control"], [stage for stage in stages.values() if stage.objective is not None]
    assert control.student == stages["student"].student
    assert control.teacher is None and control.objective is None and control.parts is None
    assert sum(stage.training["num_train_epochs"] for stage in taught) == control.training["num_train_epochs"]
    for stage in taught:
        assert {**stage.training, "num_train_epochs": 0} == {**control.training, "num_train_epochs": 0}


@pytest.mark.parametrize(
    "name",
    [name for name in shipped_recipes() if name.startswith("schemes/") and "control" in load_recipe(name).stages],
)
def test_the_control_of_a_scheme_starts_and_trains_as_its_last_student_and_has_nothing_of_the_scheme(name):
    """Recipes that compare their stages with one another, or learn from texts without labels, have none."""
    stages = load_recipe(name).stages
    control, student = stages["control"], list(stages.values())[-1]
    assert (control.model, control.student, control.training) == (student.model, student.student, student.training)
    assert control.teacher is None and control.objective is None and control.parts is None
    assert student.teacher is not None or student.parts is not None


def test_a_null_said_again_stays_a_null(tmp_path):
    """Else a recipe that says once more that its control has no teacher would give it the student's."""
    base = "data: {task: mrpc}\nstages:\n  one: {model: a/b}\n"
    student = "  control: {like: student, teacher: null, objective: null}\n"
    student += "  student: {model: a/b, teacher: one, objective: {response: {}}}\n"
    (tmp_path / "base.yaml").write_text(base + student)
    (tmp_path / "top.yaml").write_text("extends: base.yaml\nstages: {control: {teacher: null, objective: null}}\n")
    control = load_recipe(tmp_path / "top.yaml").stages["control"]
    assert control.teacher is None and control.objective is None


@pytest.mark.parametrize("name", [name for name in shipped_recipes() if name.startswith("masked-lm/")])
def test_a_control_of_masked_words_or_after_them_starts_and_trains_as_the_student_does(name):
    """Where hidden words or labels teach it; an objective that reads no head has none."""
    stages = load_recipe(name).stages
    if "control" in stages:
        control, student = stages["control"], stages["student"]
        assert (control.start, control.student, control.training) == (student.start, student.student, student.training)
        assert control.teacher is None and control.objective is None
    else:
        assert not {"hard_label", "response"} & stages["student"].objective.keys()


def test_the_control_of_a_student_that_learns_from_more_texts_learns_from_those_with_labels():
    recipe = load_recipe("entities/more-texts")
    control, student = recipe.stages["control"], recipe.stages["student"]
    assert control.student == student.student and control.teacher is None and control.objective is None
    assert control.data is None and student.data.task != recipe.data.task
    assert student.data.validation == recipe.data.validation and "hard_label" not in student.objective


@pytest.mark.parametrize("name", [name for name in shipped_recipes() if name.startswith("embeddings/")])
def test_the_control_of_vectors_that_need_no_labels_is_the_student_before_it_learns(name):
    stages = load_recipe(name).stages
    assert stages["control"].student == stages["student"].student and stages["control"].kind == "transform"
    assert stages["student"].taught_by == stages["student"].start


def test_a_change_of_the_student_reaches_its_control_and_not_the_teacher():
    recipe = load_recipe("mrpc", ["stages.student.training.num_train_epochs=9", "stages.control.training.seed=5"])
    assert recipe.stages["control"].training["num_train_epochs"] == 9
    assert recipe.stages["control"].training["seed"] == 5
    assert "seed" not in recipe.stages["student"].training
    assert recipe.stages["teacher"].training["num_train_epochs"] != 9


def test_a_misspelt_key_is_named_with_its_line_and_the_nearest_match(tmp_path: Path):
    path = recipe_file(tmp_path, "extends: glue/_base.yaml\ndata:\n  task: mrpc\n  max_lenght: 3\n")
    with pytest.raises(RequestError) as caught:
        load_recipe(path)
    assert str(caught.value) == "mine.yaml line 4: unknown key 'max_lenght' in data: did you mean 'max_length'?"


@pytest.mark.parametrize("body", ["{training: {seed: 1}}", "{student: {layers: 2}}", "5"])
def test_a_misspelt_stage_of_the_extended_recipe_is_named_with_the_nearest_match(tmp_path: Path, body):
    path = recipe_file(tmp_path, f"extends: mrpc\nstages:\n  studnet: {body}\n")
    with pytest.raises(RequestError, match=r"^mine\.yaml line 3: stages\.studnet.*; did you mean 'student'\?$"):
        load_recipe(path)


def test_a_mistake_in_the_extended_file_is_named_there(tmp_path: Path):
    (tmp_path / "base.yaml").write_text("data: {task: mrpc}\nprecision: fp23\nstages: {a: {model: x}}")
    with pytest.raises(RequestError, match=r"^base\.yaml line 2: precision is 'fp23': should be 'auto', 'fp32'"):
        load_recipe(recipe_file(tmp_path, "extends: base.yaml\nseed: 3"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("data.max_length=abc", "data.max_length is 'abc': should be a valid integer"),
        ("data.max_length='128'", "data.max_length is '128': should be a valid integer"),
        ("data.max_length=true", "should be a valid integer"),
        ("data.max_length=1", "greater than or equal to 3"),
        ("sed=1", "unknown key 'sed': did you mean 'seed'?"),
        ("stages.student.objectiv=1", "unknown key 'objectiv' in stages.student: did you mean 'objective'?"),
        ("stages.student.student.layer=2", "unknown key 'layer' in stages.student.student: did you mean 'layers'?"),
        ("stages.student.student.layers=two", "stages.student.student.layers is 'two'"),
        ("stages.student.objective.response=3", "response is 3: should be a mapping of keys to values"),
        ("stages.student.objective.respnse=null", "null removes a key, and there is none of this name to remove"),
        ("stages.contrl=null", "null removes a key, and there is none of this name to remove"),
        ("stages.student.training.sed=null", "there is nothing of this name to remove"),
        ("data=null", "the recipe has no 'data'"),
        ("data.task=null", "data has no 'task'"),
        ("stages.teacher.lora={rank: 4}", "unknown key 'rank' in stages.teacher.lora"),
        ("stages.control.like=studnet", "unknown stage 'studnet': did you mean 'student'"),
        ("stages.studnet=null", "none of this name to remove; did you mean 'student'?"),
        ("stages.studnet=x", "should be a mapping of keys to values; did you mean 'student'?"),
        ("stages.student.teacher=tchr", "no such stage or folder; did you mean 'teacher'?"),
    ],
)
def test_wrong_keys_and_types_are_refused(settings, message):
    with pytest.raises(RequestError) as caught:
        load_recipe("mrpc", [settings])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "setting",
    [
        "stages.student.model=x",
        "stages.student.student=null",
        "stages.student.student.from=null",
        "stages.student.student.from=techer",
        "stages.student.objective=null",
        "stages.student.train=false",
        "stages.teacher.model=null",
        "data.task=null",
    ],
)
def test_what_a_setting_makes_impossible_is_named_by_the_setting(setting):
    """The value that it no longer fits with stands in the recipe, and the control repeats it."""
    with pytest.raises(RequestError) as caught:
        load_recipe("mrpc", ["seed=1", setting, "stages.student.training.seed=2"])
    assert str(caught.value).startswith(f"--set {setting}: ")
    assert "stages.control" not in str(caught.value)


def test_what_a_file_makes_impossible_is_named_by_the_file_whatever_else_is_set(tmp_path: Path):
    path = recipe_file(tmp_path, "extends: mrpc\nstages:\n  student:\n    model: x\n")
    with pytest.raises(RequestError, match=r"^mine\.yaml line 4: stages\.student should have one of"):
        load_recipe(path, ["stages.student.student.layers=2"])


@pytest.mark.parametrize(
    ("key", "advice"),
    [
        ("output_dir", "--output"),
        ("bf16", "precision: bf16"),
        ("fp16", "precision: fp16"),
        ("resume_from_checkpoint", "resumes by itself"),
        ("push_to_hub", "distilnlp push"),
        ("hub_model_id", "distilnlp push"),
        ("do_train", "kind: transform"),
        ("deepspeed", "accelerate launch"),
        ("accelerator_config", "how batches go to processes"),
        ("prediction_loss_only", "measures its models itself"),
        ("remove_unused_columns", "under the recipe's 'data'"),
        ("enable_jit_checkpoint", "would pass for finished"),
    ],
)
def test_training_keys_that_would_do_nothing_or_harm_are_refused(key, advice):
    message = refused(VALUES, [f"stages.teacher.training.{key}=1"])
    assert f"stages.teacher.training.{key} cannot be set" in message
    assert advice in message


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({}, "should have one of 'model' and 'student'"),
        ({"model": "x", "student": {"from": "y"}}, "should have one of 'model' and 'student'"),
        ({"model": "x", "teacher": "one"}, "has a teacher and no 'objective'"),
        (
            {"model": "x", "train": False, "objective": {"label_smoothing": {}}},
            "is of kind transform and has losses or adapters",
        ),
        ({"model": "x", "train": "no"}, "stages.two.train is 'no': should be a valid boolean"),
        ({"model": "x", "train": True, "kind": "transform"}, "stages.two has both 'kind' and 'train'"),
        ({"model": "x", "kind": "transform", "lora": {}}, "is of kind transform and has losses or adapters"),
        ({"model": "x", "teacher": "three", "objective": {"hard_label": {}}}, "'three', a stage that does not come"),
        ({"model": "two"}, "'two', a stage that does not come earlier"),
        ({"student": {"from": "oen"}}, "no such stage or folder; did you mean 'one'?"),
        ({"student": {"from": "thre"}}, "no such stage or folder; stages before it: one"),
    ],
)
def test_stages_that_cannot_be_are_refused(stage, message):
    stages = {"one": {"model": "x"}, "two": stage, "three": {"model": "x"}}
    assert message in refused({"data": {"task": "mrpc"}, "stages": stages})


TAUGHT = {"model": "y", "objective": {"response": {}}}


def stages(**stage):
    """The recipe's second stage, learning from the first."""
    values = {
        "data": {"task": "mrpc", "max_length": 64},
        "stages": {"one": {"model": "x"}, "two": {**TAUGHT, **stage}},
    }
    return make_recipe(values, name="r")


@pytest.mark.parametrize("teacher", ["one", ["one"], {"model": "one"}, {"model": "one", "cache": None}])
def test_a_teacher_is_a_name_a_list_of_one_or_a_mapping_and_resolves_to_the_same(teacher):
    recipe = stages(teacher=teacher)
    assert recipe.stages["two"].taught_by == "one"
    assert recipe.to_dict()["stages"]["two"]["teacher"] == "one"
    assert recipe.cache_of("two") == recipe.cache


@pytest.mark.parametrize("members", [["one", "a/b"], ["one", {"model": "a/b", "pooling": "cls"}]])
def test_several_teachers_are_an_ensemble(members):
    recipe = stages(teacher=members)
    two = recipe.stages["two"]
    assert (two.taught_by, two.teaching_models) == ("ensemble of one, a/b", ("one", "a/b"))
    assert recipe.to_dict()["stages"]["two"]["teacher"] == {"kind": "ensemble", "of": members}
    assert make_recipe(recipe.to_dict(), name="r").to_dict() == recipe.to_dict()


def test_a_teacher_that_follows_the_student_is_said_by_its_kind_and_settings():
    recipe = stages(teacher={"kind": "average", "decay": 0.9, "cache": {"use": "never"}})
    two = recipe.stages["two"]
    assert (two.taught_by, two.teaching_models, two.scheme.settings) == ("average", (), {"decay": 0.9})
    assert recipe.cache_of("two").use == "never"
    assert make_recipe(recipe.to_dict(), name="r").to_dict() == recipe.to_dict()


def test_a_teacher_may_have_a_cache_of_its_own():
    recipe = stages(teacher={"model": "one", "cache": {"use": "never"}})
    assert recipe.stages["two"].taught_by == "one"
    assert (recipe.cache_of("two").use, recipe.cache.use) == ("never", "auto")
    assert make_recipe(recipe.to_dict(), name="r").to_dict() == recipe.to_dict()


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        (["one", "tow"], "stages.two.teacher is 'tow': no such stage or folder"),
        (["one", 3], "stages.two.teacher is 3: should be a valid string"),
        (["one", {"modle": "x"}], "unknown key 'modle' in stages.two.teacher.of.1: did you mean 'model'?"),
        (["one", {"pooling": "cls"}], "stages.two.teacher.of.1 has no 'model': give a stage"),
        (["one", {"model": "one", "cache": {}}], "stages.two.teacher.of.1.cache is not for one of several teachers"),
        (["one", {"column": "probs"}], "stages.two.teacher.of.1.column is not for one of several teachers"),
        (["one", {"model": "one"}], "stages.two.teacher.of.1 is one, which is one of them already"),
        ([], "stages.two.teacher is []: should have at least one teacher"),
        ({"kind": 3}, "stages.two.teacher.kind is 3: should be a valid string"),
        ({"kind": "ensemble", "of": "one"}, "stages.two.teacher.of is 'one': should be a valid list"),
        ({"modle": "one"}, "unknown key 'modle' in stages.two.teacher: did you mean 'model'?"),
        ({"cache": {}}, "stages.two.teacher has no 'model' and no 'column'"),
        ({"model": "one", "column": "probs"}, "stages.two.teacher should have one of 'model' and 'column'"),
        ({"model": "one", "missing": "label"}, "stages.two.teacher.missing is for recorded answers ('column')"),
        ({"column": "probs", "cache": {}}, "stages.two.teacher.cache is for a model"),
        ({"column": []}, "stages.two.teacher.column is an empty list"),
        ({"model": "one", "cahce": {}}, "unknown key 'cahce' in stages.two.teacher: did you mean 'cache'?"),
        ({"model": "tow"}, "stages.two.teacher is 'tow': no such stage or folder"),
        (3, "stages.two.teacher is 3: should be a valid string"),
    ],
)
def test_other_teachers_are_refused(teacher, message):
    with pytest.raises(RequestError) as caught:
        stages(teacher=teacher)
    assert message in str(caught.value)


def test_a_stage_may_have_data_and_a_problem_of_its_own():
    """What it does not say is the recipe's, but for the columns of another task."""
    values = {"task": "a.csv", "text": "body", "label": "kind", "max_length": 64, "seed": 3}
    data = {"data": values, "stages": {"one": {"model": "x"}, "two": {"model": "x", "data": {"max_train": 10}}}}
    recipe = make_recipe(data, name="r")
    assert recipe.data_of("one") is recipe.data
    assert recipe.data_of("two").model_dump(exclude_none=True) == {**values, "max_train": 10}
    data["stages"]["two"] = {"model": "x", "data": {"task": "b.csv"}, "problem": "regression"}
    other = make_recipe(data, name="r").data_of("two").model_dump(exclude_none=True)
    assert other == {"task": "b.csv", "problem_type": "regression", "max_length": 64, "seed": 3}


@pytest.mark.parametrize("problem", ["masked_lm", "sentence_embedding"])
def test_a_stage_that_reads_the_texts_alone_hears_nothing_of_labels(problem):
    data = {"task": "a.csv", "text": "body", "label": "stars", "weight": "trust", "max_train": 7}
    stages = {
        "general": {"problem": problem, "teacher": "a/b", "student": {"from": "a/b"}, "objective": {"minilm": {}}},
        "student": {"model": "a/b"},
    }
    recipe = make_recipe({"data": data, "stages": stages}, name="r")
    own = recipe.data_of("general").model_dump(exclude_none=True, exclude_defaults=True)
    assert own == {"task": "a.csv", "text": "body", "max_train": 7, "problem_type": problem}
    assert recipe.data_of("student").weight == "trust"


@pytest.mark.parametrize(
    ("stage", "message"),
    [
        ({"data": {"tsk": "x"}}, "unknown key 'tsk' in stages.two.data: did you mean 'task'?"),
        ({"data": {"max_train": 0}}, "stages.two.data.max_train is 0"),
        ({"problem": "regresion"}, "stages.two.problem is 'regresion': should be 'single_label_classification', "),
        ({"problem": "regression", "data": {"problem_type": "regression"}}, "says its problem twice"),
        ({"kind": "transfrom"}, "stages.two.kind is 'transfrom': should be 'train' or 'transform'"),
    ],
)
def test_what_a_stage_cannot_say_of_its_data_and_kind_is_refused(stage, message):
    with pytest.raises(RequestError) as caught:
        stages(teacher="one", **stage)
    assert message in str(caught.value)


def test_a_stage_that_is_not_trained_is_of_kind_transform_however_it_is_written():
    for written in ({"train": False}, {"kind": "transform"}):
        recipe = make_recipe({"data": {"task": "mrpc"}, "stages": {"one": {"model": "x", **written}}}, name="r")
        assert recipe.to_dict()["stages"]["one"] == {"kind": "transform", "model": "x", "training": {}}
    assert stages(teacher="one", train=True).stages["two"].kind == "train"


@pytest.mark.parametrize("name", ["a.b", "../up", "a b", ""])
def test_a_stage_name_has_to_fit_a_folder(name):
    assert "it names a folder" in refused({"data": {"task": "mrpc"}, "stages": {name: STAGE}})


def test_a_recipe_without_stages_is_refused():
    assert "at least 1 item" in refused({"data": {"task": "mrpc"}, "stages": {}})


def test_a_model_of_the_hub_is_no_misspelt_stage():
    stages = {"bert": {"model": "x"}, "two": {"model": "bert-base-uncased"}, "three": {"model": "org/bert"}}
    assert list(make_recipe({"data": {"task": "t"}, "stages": stages}, name="r").stages) == list(stages)


def test_values_from_options_extend_a_recipe_and_name_the_command():
    recipe = make_recipe({"data": {"task": "x.csv"}}, name="x-distill", extends="glue/_base.yaml")
    assert recipe.name == "x-distill"
    assert recipe.data.max_length == load_recipe("mrpc").data.max_length
    with pytest.raises(RequestError, match=r"^distilnlp distill: precision is 'high'"):
        make_recipe({"precision": "high"}, name="x", extends="mrpc", origin="distilnlp distill")
    with pytest.raises(RequestError, match=r"^--precision high: precision is 'high'"):
        make_recipe({"precision": "high"}, name="x", extends="mrpc", places={("precision",): "--precision high"})


def test_the_schema_is_made_for_files_that_extend_others():
    schema = recipe_schema()
    assert "extends" in schema["properties"]
    assert "like" in schema["$defs"]["Stage"]["properties"]
    assert "required" not in schema
    assert schema["additionalProperties"] is False
    keys = set(Recipe.model_fields) | {"extends"}
    assert set(schema["properties"]) == keys


def test_the_resolved_recipe_is_plain_yaml():
    text = load_recipe("quickstart").to_yaml()
    assert yaml.safe_load(text)["stages"]["student"]["student"]["from"] == "teacher"
    assert "!!" not in text


@pytest.mark.parametrize("key", ["data", "stages"])
def test_a_recipe_without_a_part_that_it_needs_is_told_of_it(key):
    assert refused({name: value for name, value in VALUES.items() if name != key}).endswith(
        f"the recipe has no '{key}'"
    )


@pytest.mark.parametrize("setting", ["seed=-1", "data.seed=-1", "data.seed=4294967296"])
def test_a_seed_is_one_that_every_library_takes(setting):
    assert "should be " in refused(VALUES, [setting])


def test_a_name_longer_than_a_file_may_have_is_no_folder():
    make_recipe({**VALUES, "stages": {"teacher": {"model": "x" * 300}}}, name="long")
    with pytest.raises(RequestError, match="no recipe"):
        load_recipe("x" * 300)
