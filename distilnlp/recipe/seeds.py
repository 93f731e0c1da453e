"""Several seeds in one run: which stages are made once for each of them, and as what.

All of it reads the plain values of a resolved recipe, as `distilnlp.recipe.Recipe.to_dict` gives and a run keeps them.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from distilnlp.recipe.names import as_stage, model_of_task, models_of_stages

__all__ = ["further_stages", "models_by_seed", "repeated_stages", "seeds_of", "stages_of_seeds"]

Values = Mapping[str, Any]


def seeds_of(recipe: Values) -> list[int]:
    """The seeds of a run; none where it has the one."""
    seeds = recipe.get("seeds")
    return list(seeds) if isinstance(seeds, list) else []


def repeated_stages(recipe: Values) -> list[str]:
    """The stages that are made once for each seed, in their order: those that are compared.

    They are the students and assistants, which have a teacher; every other stage that is trained, as the control,
    unless one of those is made of it; and what is made of one that is repeated. So teachers are trained once, and a
    model that students start from or are cut from is made once.
    """
    stages = _stages(recipe)
    stage_of = {model: stage for model, (stage, _) in models_of_stages(stages).items()}
    taught = [name for name, spec in stages.items() if spec.get("teacher") is not None]
    before: set[str] = set()
    reached = [each for spec in (recipe, *(stages[name] for name in taught)) for each in _needed(spec)]
    while reached:
        name = stage_of.get(as_stage(reached.pop()))
        if name is not None and name not in before and name not in taught:
            before.add(name)
            reached += _needed(stages[name])
    found: list[str] = []
    for name, spec in stages.items():
        is_compared = spec.get("kind", "train") == "train" and name not in before
        if is_compared or any(stage_of.get(as_stage(each)) in found for each in _models(spec)):
            found.append(name)
    return found


def stages_of_seeds(recipe: Values) -> dict[str, Any]:
    """The stages of all seeds: with the first under the names of the recipe, with a further one as ``student-seed-2``.

    Each stage that is repeated has its seed in its ``training``, where that is not the recipe's own.
    """
    seeds, stages = seeds_of(recipe), _stages(recipe)
    again = repeated_stages(recipe) if seeds else []
    made = dict(stages)
    for place, seed in enumerate(seeds):
        renamed = _models_of_seed(stages, again, seed) if place else {}
        for name in again:
            own = _with_models(stages[name], partial(_renamed, renamed=renamed))
            if seed != recipe.get("seed"):
                own["training"] = {**(own.get("training") or {}), "seed": seed}
            made[_named(name, seed) if place else name] = own
    return made


def further_stages(recipe: Values) -> dict[str, str]:
    """The stages of further seeds, each with the stage that it repeats: ``student-seed-2`` -> ``student``."""
    seeds = seeds_of(recipe)
    again = repeated_stages(recipe) if seeds else []
    return {_named(name, seed): name for seed in seeds[1:] for name in again}


def models_by_seed(recipe: Values) -> dict[str, tuple[str, int]]:
    """The models of stages that are repeated, by name: what each is called with the first seed, and its own seed.

    ``student-seed-2`` -> ``("student", 2)``; of a stage with several tasks ``student-seed-2-mrpc`` ->
    ``("student-mrpc", 2)``.
    """
    seeds, stages = seeds_of(recipe), _stages(recipe)
    again = repeated_stages(recipe) if seeds else []
    found: dict[str, tuple[str, int]] = {}
    for place, seed in enumerate(seeds):
        of_seed = _models_of_seed(stages, again, seed)
        found |= {(new if place else model): (model, seed) for model, new in of_seed.items()}
    return found


def _named(stage: str, seed: int) -> str:
    return f"{stage}-seed-{seed}"


def _models_of_seed(stages: Values, again: list[str], seed: int) -> dict[str, str]:
    """What the models of the stages that are repeated are called with a further seed."""
    return {
        model: model_of_task(_named(stage, seed), task) if task else _named(stage, seed)
        for model, (stage, task) in models_of_stages(stages).items()
        if stage in again
    }


def _renamed(model: str, renamed: Mapping[str, str]) -> str:
    """With a further seed: the model itself, or the same checkpoint of it."""
    stage = as_stage(model)
    return f"{renamed[stage]}{model[len(stage) :]}" if stage in renamed else model


def _stages(recipe: Values) -> dict[str, Values]:
    stages = recipe.get("stages")
    named = stages if isinstance(stages, Mapping) else {}
    return {str(name): spec if isinstance(spec, Mapping) else {} for name, spec in named.items()}


# ---- the models that a stage names ----


def _models(spec: Values) -> list[str]:
    """What a stage is made of: its start, its teachers, those that teach one of its terms, those of its parts."""
    found: list[str] = []

    def note(model: str) -> str:
        found.append(model)
        return model

    _with_models(spec, note)
    return found


def _needed(spec: Values) -> list[str]:
    """The same with what writes its texts, which are data and alike for all seeds."""
    data = spec.get("data")
    generate = data.get("generate") if isinstance(data, Mapping) else None
    writer = generate.get("model") if isinstance(generate, Mapping) else None
    return [*_models(spec), *([writer] if isinstance(writer, str) else [])]


def _with_models(spec: Values, rename: Callable[[str], str]) -> dict[str, Any]:
    """A stage with other names for the models that it is made of."""
    made = _changed(spec, "model", rename)
    if "teacher" in made:
        made["teacher"] = _teacher(made["teacher"], rename)
    if isinstance(made.get("student"), Mapping):
        made["student"] = _changed(made["student"], "from", rename)
    for key, named in (("objective", "teacher"), ("parts", "model")):
        if isinstance(made.get(key), Mapping):
            made[key] = {
                name: _changed(settings, named, rename) if isinstance(settings, Mapping) else settings
                for name, settings in made[key].items()
            }
    return made


def _teacher(teacher: Any, rename: Callable[[str], str]) -> Any:
    if isinstance(teacher, str):
        return rename(teacher)
    if isinstance(teacher, list):
        return [_teacher(each, rename) for each in teacher]
    if not isinstance(teacher, Mapping):
        return teacher
    made = dict(teacher)
    for key in ("model", "of", "of_best"):
        if key in made:
            made[key] = _teacher(made[key], rename)
    if isinstance(made.get("by_task"), Mapping):
        made["by_task"] = {task: _teacher(each, rename) for task, each in made["by_task"].items()}
    return made


def _changed(values: Values, key: str, rename: Callable[[str], str]) -> dict[str, Any]:
    return {**values, **({key: rename(values[key])} if isinstance(values.get(key), str) else {})}
