"""Damaged recipes, and runs of recipes with strange training arguments."""

import copy
import dataclasses
import random
from pathlib import Path
from typing import Any, get_args

import yaml
from transformers import TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy, SchedulerType
from transformers.training_args import OptimizerNames

from distilnlp.losses import list_losses
from distilnlp.losses.base import loss_class
from distilnlp.recipe import load_recipe
from distilnlp.recipe.schema import RESERVED
from distilnlp.run import run_recipe
from distilnlp.run.plan import loss_settings, make_plan
from tests.fuzz.answers import Case
from tests.fuzz.mutate import damage_bytes, damage_text, damage_values, strange, typo

__all__ = ["damaged_recipe", "damaged_setting", "strange_training"]

ARGUMENTS = [field.name for field in dataclasses.fields(TrainingArguments) if field.init]
TAKEN = [name for name in ARGUMENTS if name not in RESERVED]  # what a recipe may say at all
NAMES = [each.value for kind in (IntervalStrategy, SaveStrategy, SchedulerType, OptimizerNames) for each in kind]
TRAINING = {
    "num_train_epochs": 1,
    "per_device_train_batch_size": 8,
    "learning_rate": 1e-3,
    "report_to": "none",
    "save_strategy": "no",
}


def whole(data: str, model: str) -> dict[str, Any]:
    """A recipe that is fine and has every part."""
    return copy.deepcopy(
        {
            "name": "films",
            "data": {"task": data, "max_length": 16, "seed": 3, "max_train": 24},
            "precision": "fp32",
            "accept_weak_teacher": True,
            "seed": 7,
            "cache": {"use": "never", "max_gib": 1.0},
            "stages": {
                "teacher": {"model": model, "lora": {"r": 2, "alpha": 4}, "training": TRAINING},
                "control": {"like": "student", "teacher": None, "objective": None},
                "student": {
                    "teacher": {"model": "teacher", "cache": {"use": "auto"}},
                    "student": {"from": "teacher", "layers": 1, "layer_map": "uniform", "init": "teacher"},
                    "objective": {
                        "hard_label": {"weight": 0.5},
                        "soft_target": {
                            "weight": {"schedule": "linear", "start": 1.0, "end": 0.5},
                            "temperature": 2.0,
                        },
                        "hidden_state": {"layer_map": "auto"},
                    },
                    "training": dict(TRAINING),
                },
            },
        }
    )


def damaged_recipe(rng: random.Random, folder: Path, data: str, model: str) -> Case:
    """A recipe whose values, text or bytes are damaged: read, planned, written and read again."""
    values = whole(data, model)
    said = [_new_value(rng, values) if rng.random() < 0.5 else damage_values(rng, values) for _ in range(_some(rng))]
    raw = yaml.safe_dump(values, sort_keys=False, allow_unicode=True).encode("utf-8", "surrogatepass")
    if rng.random() < 0.4:
        said, raw = ["text"], damage_text(rng, raw.decode("utf-8", "replace")).encode("utf-8", "surrogatepass")
    elif rng.random() < 0.1:
        said, raw = ["bytes"], damage_bytes(rng, raw)
    path = folder / "recipe.yaml"
    path.write_bytes(raw)

    def call() -> None:
        recipe = load_recipe(path)
        make_plan(recipe)
        again = folder / "again.yaml"
        again.write_text(recipe.to_yaml(), encoding="utf-8")
        if load_recipe(again).to_yaml() != recipe.to_yaml():
            raise AssertionError("the resolved recipe is read back as another one")

    return Case(f"recipe: {'; '.join(said)}", call)


def damaged_setting(rng: random.Random, folder: Path, data: str, model: str) -> Case:
    """A word after ``--set``."""
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(whole(data, model), sort_keys=False), encoding="utf-8")
    keys = ["data", "stages", "student", "teacher", "training", "objective", "soft_target", "weight", "seed", "model"]
    keys += ["cache", "precision", "layers", "from", "like", "", " ", "0", "a.b", rng.choice(ARGUMENTS)]
    at = rng.choice(
        (["stages", "student", "training", rng.choice(ARGUMENTS)], [rng.choice(keys) for _ in range(_some(rng))])
    )
    value = strange(rng)
    text = value if isinstance(value, str) else yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n")
    word = f"{'.'.join(at)}={text.strip()}"
    if rng.random() < 0.3:
        word = damage_text(rng, word)
    return Case(f"--set {word[:200]!r}", lambda: make_plan(load_recipe(path, [word])))


def strange_training(rng: random.Random, folder: Path, data: str, model: str) -> Case:
    """A whole run, with training arguments that nobody would choose."""
    values = whole(data, model)
    stages = values["stages"]
    del stages["control"]
    if rng.random() < 0.7:
        del stages["teacher"]["lora"]
    chosen = {}
    for _ in range(rng.randint(1, 2)):
        key = rng.choice(ARGUMENTS if rng.random() < 0.1 else TAKEN)
        chosen[key] = _argument(rng, key)
    stages[rng.choice(("teacher", "student"))]["training"].update(chosen)
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return Case(f"training: {repr(chosen)[:200]}", lambda: run_recipe(make_plan(load_recipe(path)), folder / "run"))


def _some(rng: random.Random) -> int:
    return rng.choice((1, 1, 1, 2, 3))


def _argument(rng: random.Random, key: str) -> Any:
    """A value of the argument's own type more often than not; few steps, for a case is to end."""
    kinds = next(field.type for field in dataclasses.fields(TrainingArguments) if field.name == key)
    kinds = {kinds, *get_args(kinds)}
    likely: list[Any] = []
    if bool in kinds:
        likely += [True, False]
    if int in kinds:
        likely += [0, 1, 2, -1, 5]
    if float in kinds:
        likely += [0.0, 0.1, 1.0, 3.0, 1e-9, -0.5]
    if str in kinds or not likely:
        likely += [*rng.sample(NAMES, 3), "auto", "none", "a=1", "tensorboard"]
    if dict in kinds or "kwargs" in key:
        likely += [{}, {"a": 1}, {"num_cycles": 2}]
    value = rng.choice(likely) if rng.random() < 0.7 else strange(rng)
    # A training of days is a wish like another, and no case for a test.
    return 3 if key in ("max_steps", "num_train_epochs") and value in (7, 2**31) else value


def _new_value(rng: random.Random, values: dict[str, Any]) -> str:
    """Set a training argument, or the setting of a loss."""
    stages = values.get("stages")
    student = stages.get("student") if isinstance(stages, dict) else None
    if not isinstance(student, dict):
        return "nothing"
    if rng.random() < 0.6 and isinstance(student.get("training"), dict):
        key = rng.choice(ARGUMENTS)
        student["training"][key] = _argument(rng, key)
        return f"training.{key} = {repr(student['training'][key])[:80]}"
    name = rng.choice(list_losses())
    setting = rng.choice(list(loss_settings(loss_class(name))))
    student["objective"] = {name: {typo(rng, setting) if rng.random() < 0.1 else setting: strange(rng)}}
    return f"objective = {repr(student['objective'])[:100]}"
