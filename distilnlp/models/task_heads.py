"""One model for several tasks: a head for each, side by side in its last layer; joined, and taken apart again."""

import copy
from collections.abc import Mapping

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from distilnlp.errors import RequestError
from distilnlp.models.heads import model_from_config
from distilnlp.models.labels import drop_thresholds, label_names_of, last_layer, relabel
from distilnlp.models.trained_columns import forget_columns
from distilnlp.problems import problem_of_config
from distilnlp.problems.several_tasks import TASKS, OneTask, SeveralTasks, settings_of

__all__ = [
    "check_one_task",
    "config_of_task",
    "join_tasks",
    "joined_config",
    "sketch_of_task",
    "split_task",
    "tasks_of",
]


def tasks_of(config: PreTrainedConfig) -> SeveralTasks | None:
    """The tasks of a model with a head for each; None of any other model."""
    problem = problem_of_config(config)
    return problem if isinstance(problem, SeveralTasks) else None


def check_one_task(config: PreTrainedConfig, name: str) -> None:
    """Raise RequestError for a model of several tasks, which has no answer of its own; ``name``: of the model."""
    tasks = tasks_of(config)
    if tasks is not None:
        raise RequestError(
            f"{name} holds the heads of several tasks, {', '.join(tasks.names)}: give the model of one, which a run"
            f" puts beside it ({name.rstrip('/')}-{tasks.names[0]}), or split_task(model, '{tasks.names[0]}')"
        )


def join_tasks(models: Mapping[str, PreTrainedModel]) -> PreTrainedModel:
    """One model with the heads of several.

    The body, and what of a head comes before its last layer, is that of the first: make the others of the same start.

    Args:
        models: by the names of their tasks, of one architecture, each with a head that answers once for a text. Not
            changed.
    Returns:
        a plain model whose last layer has the rows of all, in their order; its config says which are whose.
    Raises:
        RequestError: fewer than two; a name with other signs than letters, digits, ``-`` and ``_``; a head that cannot
            be joined.
    """
    made = model_from_config(joined_config({name: model.config for name, model in models.items()}))
    first = next(iter(models.values()))
    sizes = [{name: tensor.shape for name, tensor in _without_head(each).items()} for each in (made, *models.values())]
    if any(each != sizes[0] for each in sizes):
        raise RequestError(f"the models of {', '.join(models)} are not of one architecture: make them of one start")
    lasts, own = [_last(each) for each in models.values()], _last(made)
    made.load_state_dict(_without_head(first), strict=False)
    with torch.no_grad():
        own.weight.copy_(torch.cat([last.weight for last in lasts]))
        if own.bias is not None:
            own.bias.copy_(torch.cat([last.bias for last in lasts]))
    return _like(made, first)


def joined_config(configs: Mapping[str, PreTrainedConfig]) -> PreTrainedConfig:
    """The config of the model that `join_tasks` makes of models with these. Raises RequestError as that does."""
    if len(configs) < 2:
        raise RequestError(f"a model of several tasks has two or more; got {', '.join(configs) or 'none'}")
    kinds = {}
    for name, config in configs.items():
        if not name or not name.replace("-", "").replace("_", "").isalnum():
            raise RequestError(f"the task {name!r:.40} cannot be called so: use letters, digits, '-' and '_'")
        problem = problem_of_config(config)
        if problem.rows != "text" or problem.vectors or problem.labels_itself or not problem.of_data:
            raise RequestError(
                f"the task {name} is {problem.name}, and tasks that share a model have one answer for each text: a"
                " class, several labels or a number"
            )
        names = label_names_of(config) or tuple((config.id2label or {}).values())
        kinds[name] = (problem.name, names if problem.named_labels else None)
    labels = [
        f"{name}: {label}"
        for name, config in configs.items()
        for label in (kinds[name][1] or [str(place) for place in range(config.num_labels or 0)])
    ]
    made = copy.deepcopy(next(iter(configs.values())))
    relabel(made, {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)}})
    made.problem_type = SeveralTasks.name  # type: ignore[assignment]  # theirs lists three kinds
    setattr(made, TASKS, settings_of(kinds))
    drop_thresholds(made)
    forget_columns(made)
    return made


def split_task(model: PreTrainedModel, name: str) -> PreTrainedModel:
    """The model of one of several tasks alone: a plain one, with weights of its own.

    Args:
        model: as `join_tasks` makes it; not changed.
        name: of the task.
    Raises:
        RequestError: a model without several tasks, or without this one.
    """
    task = _task_of(model.config, name)
    made = model_from_config(config_of_task(model.config, name))
    own, joined = _last(made), _last(model)
    made.load_state_dict(_without_head(model), strict=False)
    with torch.no_grad():
        own.weight.copy_(joined.weight[task.start : task.stop])
        if own.bias is not None:
            own.bias.copy_(joined.bias[task.start : task.stop])
    return _like(made, model)


def config_of_task(config: PreTrainedConfig, name: str) -> PreTrainedConfig:
    """The config of the model that `split_task` makes. Raises RequestError as that does."""
    task = _task_of(config, name)
    return relabel(copy.deepcopy(config), task.problem.config_settings(task.label_names))


def _task_of(config: PreTrainedConfig, name: str) -> OneTask:
    tasks = tasks_of(config)
    if tasks is None:
        raise RequestError(f"the model is of one task and not of several, so that {name} cannot be taken out of it")
    return tasks.task(name)


def sketch_of_task(model: PreTrainedModel, name: str) -> PreTrainedModel:
    """A model of one task as `split_task` makes it, without weights."""
    with torch.device("meta"):
        return model_from_config(config_of_task(model.config, name))


def _last(model: PreTrainedModel) -> nn.Linear:
    return last_layer(model, int(model.config.num_labels or 0))


def _like(made: PreTrainedModel, model: PreTrainedModel) -> PreTrainedModel:
    """In the precision and the mode of another, where that one is."""
    weight = next(model.parameters())
    nn.Module.to(made, device=weight.device, dtype=weight.dtype)
    made.train(model.training)
    return made


def _without_head(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The weights of a model but for those of its last layer."""
    head = _names_of_head(model)
    return {name: tensor for name, tensor in model.state_dict().items() if name not in head}


def _names_of_head(model: PreTrainedModel) -> set[str]:
    last = _last(model)
    place = next(name for name, module in model.named_modules() if module is last)
    return {f"{place}.{name}" for name, _ in last.named_parameters()}
