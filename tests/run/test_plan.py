"""What needs the libraries to be checked: training arguments, losses, and the schema that names them."""

from collections import Counter
from pathlib import Path
from unittest import mock

import pytest
from transformers import Trainer, TrainingArguments

from distilnlp.errors import RequestError
from distilnlp.losses import Objective, list_losses
from distilnlp.models import loading
from distilnlp.recipe import Recipe, load_recipe, make_recipe, shipped_recipes
from distilnlp.run import full_schema, make_plan, run_recipe, sources
from distilnlp.run.plan import loss_culprit


@pytest.mark.parametrize("name", list(shipped_recipes()))
def test_the_shipped_recipes_are_fine(name):
    make_plan(load_recipe(name))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "training.learning_rat=1",
            "unknown key 'learning_rat' in stages.student.training: did you mean 'learning_rate'",
        ),
        ("training.warmup_ratio=0.1", "unknown key 'warmup_ratio'"),  # gone from TrainingArguments
        ("training.learning_rate=fast", "learning_rate is 'fast': should be a valid number"),
        ("training.num_train_epochs='3'", "num_train_epochs is '3': should be a valid number"),
        ("training.num_train_epochs=0", "num_train_epochs is 0: should be greater than 0"),
        ("training.learning_rate=-1", "learning_rate is -1: should be greater than 0"),
        ("training.learning_rate=.nan", "learning_rate is nan: should be a"),
        ("training.per_device_train_batch_size=0", "per_device_train_batch_size is 0: should be greater than 0"),
        ("training.seed=1.5", "seed is 1.5: should be a valid integer"),
        ("training.seed=-1", "seed is -1: should be greater than or equal to 0"),
        ("training.data_seed=4294967296", "should be less than 4294967296"),
        ("training.num_train_epochs=1e300", "should be less than or equal to 1000000"),
        ("training.max_steps=0", "max_steps is 0: should be greater than 0, or left out"),
        ("training.gradient_accumulation_steps=0", "should be greater than 0"),
        ("training.save_steps=0", "save_steps is 0: should be greater than 0"),
        ("training.save_total_limit=0", "should be greater than 0"),
        ("training.adam_beta1=2", "adam_beta1 is 2: should be less than 1"),
        ("training.max_grad_norm=-1", "should be greater than or equal to 0"),
        ("training.dataloader_num_workers=10000", "should be less than or equal to 256"),
        ("training.eval_accumulation_steps=2147483648", "should be less than 2147483648"),
        ("training.log_level=foo", "unknown log_level 'foo': did you mean 'info'? accepted: detail, debug, info"),
        ("training.torch_compile_backend=nobody", "unknown torch_compile_backend 'nobody'"),
        ("training.torch_compile_mode=fast", "unknown torch_compile_mode 'fast'"),
        ("training.report_to=wandb", "training.report_to: WandbCallback requires wandb to be installed"),
        ("training.lr_scheduler_kwargs='{'", "training.lr_scheduler_kwargs: "),
        ("training.save_strategy=epcoh", "epcoh is not a valid SaveStrategy"),
        ("training.load_best_model_at_end=yes", "should be a valid boolean"),
        ("training.report_to=nobody", "nobody"),
        (
            "objective.soft_targt={}",
            "unknown loss 'soft_targt' in stages.student.objective: did you mean 'soft_target'",
        ),
        (
            "objective.response.temprature=3",
            "unknown key 'temprature' in stages.student.objective.response: did ",
        ),
        ("objective.response.temperature=-3", "temperature must be positive"),
        ("objective.response.temperature=hot", "temperature is 'hot': should be a valid number"),
        ("objective.response.weight=-1", "weight of response must be positive"),
        ("objective.response.weight=true", "should be a valid number"),
        ("objective.hidden_state.layer_map=unifrm", "unknown layer map 'unifrm'"),
    ],
)
def test_what_cannot_be_is_refused_at_the_place_it_was_written(setting, message):
    setting = f"stages.student.{setting}"
    with pytest.raises(RequestError) as caught:
        make_plan(load_recipe("mrpc", [setting]))
    assert str(caught.value).startswith(f"--set {setting}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


COOLS = "temperature: {schedule: cosine, start: 8.0, end: 1.0}"
FADES = """
        weight:
          schedule: linear
          start: 1.0
          end: 0.0
          until: 0.8
"""


def scheduled(folder, weight=FADES, temperature=COOLS):
    """The file of a recipe with a schedule, its weight from line 6 on, and its objective's checks passed."""
    text = (
        f"extends: glue/mrpc\nstages:\n  student:\n    objective:\n      soft_target:{weight}        {temperature}\n"
    )
    (folder / "r.yaml").write_text(text, encoding="utf-8")
    make_plan(load_recipe(folder / "r.yaml"))


def test_weights_and_settings_may_have_schedules(tmp_path):
    scheduled(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        (
            "schedule: linear",
            "schedule: linea",
            7,
            "soft_target.weight: unknown schedule 'linea': did you mean 'linear'",
        ),
        ("end: 0.0", "ende: 0.0", 9, "soft_target.weight: unknown key 'ende' of a schedule: did you mean 'end'"),
        ("end: 0.0", "end: zero", 9, "soft_target.weight: end of a schedule must be a finite number; got 'zero'"),
        ("end: 0.0", "end: -1.0", 9, "soft_target.weight: the weight of soft_target must be positive and finite"),
        ("until: 0.8", "until: 80", 10, "soft_target.weight: until is a share of the training"),
        ("end: 1.0", "end: 0.0", 11, "end of the schedule of temperature: temperature must be positive"),
        ("end: 1.0", "end: 1.0, until: 0.5", 11, "until is for weights"),
    ],
)
def test_a_mistake_in_a_schedule_is_named_with_its_line(tmp_path, old, new, line, message):
    with pytest.raises(RequestError) as caught:
        scheduled(tmp_path, FADES.replace(old, new), COOLS.replace(old, new))
    assert str(caught.value).startswith(f"r.yaml line {line}: ")
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_setting_that_is_no_float_has_no_schedule():
    setting = "stages.student.objective.logit_mse={center: {schedule: linear, start: 0, end: 1}}"
    with pytest.raises(RequestError, match=r"center of logit_mse is no number .*: schedules are for weight"):
        make_plan(load_recipe("mrpc", [setting]))


def test_a_loss_that_asks_a_teacher_is_refused_where_there_is_none():
    with pytest.raises(RequestError, match=r"objective has response, and stages.student has no 'teacher' to learn"):
        make_plan(load_recipe("mrpc", ["stages.student.teacher=null"]))
    alone = [f"stages.student.objective.{name}=null" for name in ("response", "hidden_state", "attention_scores")]
    make_plan(load_recipe("mrpc", ["stages.student.teacher=null", *alone]))


def test_an_objective_of_weights_0_is_refused():
    losses = load_recipe("mrpc").stages["student"].objective or {}
    settings = [f"stages.student.objective.{name}.weight=0" for name in losses]
    with pytest.raises(RequestError, match="nothing would be trained"):
        make_plan(load_recipe("mrpc", settings))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("stages.student.teacher=null", "has no 'teacher' to learn from"),
        ("stages.student.training.load_best_model_at_end=true", "requires the save and eval strategy to match"),
    ],
)
def test_what_a_setting_makes_impossible_is_named_by_the_setting(setting, message):
    settings = ["stages.student.training.eval_strategy=steps", setting, "stages.student.training.seed=2"]
    with pytest.raises(RequestError, match=message) as caught:
        make_plan(load_recipe("mrpc", settings))
    assert str(caught.value).startswith(f"--set {setting}: ")


def test_fp16_needs_a_gpu():
    with pytest.raises(RequestError, match="fp16 needs a CUDA device"):
        make_plan(load_recipe("mrpc", ["precision=fp16"]))


def test_the_schema_knows_every_loss_and_training_argument():
    stage = full_schema()["$defs"]["Stage"]["properties"]
    objective, training = (stage[key]["anyOf"][0]["properties"] for key in ("objective", "training"))
    assert set(objective) == set(list_losses())
    keys = {"weight", "teacher", "temperature", "class_weights"}
    assert set(objective["soft_target"]["anyOf"][0]["properties"]) == keys
    assert {"learning_rate", "num_train_epochs", "seed"} <= set(training)
    assert {"$ref": "#/$defs/Schedule"} in objective["soft_target"]["anyOf"][0]["properties"]["temperature"]["anyOf"]
    assert "anyOf" not in objective["vid"]["anyOf"][0]["properties"]["variance"]


@pytest.mark.slow
def test_everything_is_parsed_and_made_once_a_run(values, tmp_path):
    """From the recipe to the end of the run: no objective is made, no argument checked, no weights read twice."""
    counted = Counter()

    def count(owner, name):
        original = getattr(owner, name)

        def counting(*args, **kwargs):
            counted[name] += 1
            return original(*args, **kwargs)

        return mock.patch.object(owner, name, counting)

    before_training = {}

    def first_step(original):
        def training_step(*args, **kwargs):
            before_training.setdefault("loads", counted["load_model"])
            return original(*args, **kwargs)

        return training_step

    with (
        count(Recipe, "model_validate"),
        count(Objective, "from_dict"),
        count(loading, "load_model"),
        mock.patch.object(sources, "load_model", lambda *a, **k: loading.load_model(*a, **k)),
        count(TrainingArguments, "__post_init__"),
        mock.patch.object(Trainer, "training_step", first_step(Trainer.training_step)),
    ):
        recipe = make_recipe(values, name="films")
        run_recipe(recipe, tmp_path / "run")
    assert counted["model_validate"] == 1
    assert counted["from_dict"] == 1  # one stage has an objective
    assert counted["__post_init__"] == 3  # one for each stage
    assert before_training["loads"] == 1  # of the start weights


def test_a_plan_knows_the_data_the_teacher_and_the_role_of_every_stage(values):
    values["stages"]["student"]["data"] = {"max_train": 20}
    values["stages"]["student"]["teacher"] = {"model": "teacher", "cache": {"use": "never"}}
    plan = make_plan(make_recipe(values, name="films"))
    assert {name: stage.role for name, stage in plan.stages.items()} == {
        "teacher": "teacher",
        "control": "control",
        "student": "student",
    }
    student = plan.stages["student"]
    assert (student.start, student.teacher, student.seed) == ("teacher", "teacher", 42)
    assert (student.data.max_train, plan.stages["teacher"].data.max_train) == (20, None)
    assert (student.cache.use, plan.stages["teacher"].cache.use) == ("never", "auto")
    assert plan.reference_teacher == "teacher" and plan.outsiders == {}
    folder = student.arguments_in(Path("runs/x"))
    assert folder.output_dir == "runs/x" and student.arguments.output_dir != "runs/x"


def test_losses_on_the_labels_alone_make_no_student(values):
    """So that a teacher and a control can be given a weight for the labels that hold."""
    values["stages"]["control"]["objective"] = {"soft_target": None, "hidden_state": None}
    weight = "hard_label.pos_weight=2"
    settings = [f"stages.{name}.objective.{weight}" for name in ("teacher", "control")]
    plan = make_plan(make_recipe(values, name="films", settings=settings))
    assert [stage.role for stage in plan.stages.values()] == ["teacher", "control", "student"]
    assert [stage.objective is None for stage in plan.stages.values()] == [False, False, False]


@pytest.mark.parametrize("wrong", ["balance", "0", "[1, -1]", "{a: 1}"])
def test_a_pos_weight_that_cannot_be_is_told_with_its_key(values, wrong):
    setting = f"stages.student.objective.hard_label.pos_weight={wrong}"
    with pytest.raises(RequestError, match="pos_weight"):
        make_plan(make_recipe(values, name="films", settings=[setting]))


@pytest.mark.parametrize(
    ("settings", "guilty"),
    [({"layer_map": "unifrm"}, ["layer_map"]), ({"layer_map": [[0, 0]], "heads": "match"}, ["layer_map"])],
)
def test_the_setting_that_makes_a_loss_impossible_is_found_without_reading_the_message(settings, guilty):
    assert loss_culprit("attention_probabilities", settings, lambda loss: loss) == guilty


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("teacher={kind: avrage}", "teacher.kind: unknown kind of teacher 'avrage': did you mean 'average'?"),
        (
            "teacher={kind: average, decya: 0.9}",
            "unknown key 'decya' in stages.student.teacher: did you mean 'decay'?",
        ),
        ("teacher={kind: average, decay: 1.5}", "stages.student.teacher.decay: the decay of an EMA teacher lies in"),
        ("teacher={kind: average, decay: fast}", "stages.student.teacher.decay: AverageTeacher: decay is 'fast'"),
        ("teacher={kind: average, of: [teacher]}", "stages.student.teacher.of: average is made of no other teacher"),
        ("parts={nobody: {}}", "unknown part 'nobody' in stages.student.parts"),
    ],
)
def test_a_kind_of_teacher_and_a_part_are_checked_at_the_place_they_were_written(setting, message):
    with pytest.raises(RequestError) as caught:
        make_plan(load_recipe("mrpc", [f"stages.student.{setting}"]))
    assert str(caught.value).startswith(f"--set stages.student.{setting.partition('=')[0]}")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
