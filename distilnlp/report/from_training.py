"""The report of one training outside of a run, as far as its trainer knows it: what the model card is made of."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from distilnlp.models.encoder import count_parameters
from distilnlp.problems import Problem
from distilnlp.report.schema import Cost, Report, StageResult
from distilnlp.report.scores import SCORES

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainingArguments

__all__ = ["training_report"]

LIBRARIES = ("distilnlp", "torch", "transformers", "datasets", "accelerate")
# The arguments that decide the weights, as far as they usually are changed.
TRAINING = (
    "num_train_epochs",
    "max_steps",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "lr_scheduler_type",
    "warmup_steps",
    "weight_decay",
    "max_grad_norm",
    "optim",
    "seed",
    "bf16",
    "fp16",
)


def training_report(
    stage: str,
    model: "PreTrainedModel",
    args: "TrainingArguments",
    *,
    counts: bool,
    teacher: str | None,
    problem: Problem,
    label_names: Sequence[str] | None,
    objective: Mapping[str, Any],
    parts: Mapping[str, Any] | None = None,
    evaluation: Mapping[str, float],
    further_sets: Sequence[str] = (),
    known: Mapping[str, Any],
) -> Report:
    """What `render_card` reads. Nothing is guessed: what is not given here is left out.

    Args:
        stage: the name of the model.
        model: the model.
        args: of the training.
        counts: whether the parameters of ``model`` are those of the model that is saved.
        teacher: the teacher's name; None when there was none.
        problem, label_names: of the task.
        objective: name of a loss -> its settings and weight.
        parts: name of a part that followed the training -> what is known of it.
        evaluation: what `Trainer.evaluate` gave, its keys with ``eval_`` in front.
        further_sets: names of the evaluation sets, where there are several: ``eval_<name>_<metric>``.
        known: further keys of a report that the caller knows (``task``, ``dataset_id``, ``license``, ...).
    """
    spec = {
        "model": model.name_or_path,
        "teacher": teacher,
        "objective": dict(objective),
        "parts": dict(parts or {}),
        "training": _settings(args),
    }
    scores = _metrics(evaluation, "eval_")
    main = next(iter(scores), None)
    total, without = count_parameters(model) if counts else (None, None)
    result = StageResult(
        stage=stage,
        role="student" if teacher is not None else None,
        main_metric=main,
        score=None if main is None else scores[main],
        metrics=scores,
        extra={name: _metrics(evaluation, f"eval_{name}_") for name in further_sets},
        cost=Cost(parameters=total, parameters_without_embeddings=without) if counts else None,
    )
    return Report(
        problem_type=problem.name,
        label_names=list(label_names) if label_names is not None else None,
        main_metric=main,
        stages=[result],
        recipe={"stages": {stage: {key: value for key, value in spec.items() if value}}},
        versions={name: version(name) for name in LIBRARIES},
        **{key: value for key, value in known.items() if value},
    )


def _metrics(evaluation: Mapping[str, float], before: str) -> dict[str, float]:
    found = {key.removeprefix(before): value for key, value in evaluation.items() if key.startswith(before)}
    return {name: float(value) for name, value in found.items() if name in SCORES}


def _settings(args: "TrainingArguments") -> dict[str, Any]:
    values = args.to_dict()  # plain values, the enums as text
    settings = {name: values[name] for name in TRAINING}
    if settings["max_steps"] <= 0:
        del settings["max_steps"]
    return settings
