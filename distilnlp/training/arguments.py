"""What the trainer is given: types, settings and optimizers that would train nothing, or something else than asked."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments

from distilnlp.errors import RequestError
from distilnlp.losses import Objective
from distilnlp.models.heads import name_architecture
from distilnlp.part import Part
from distilnlp.teachers import CacheSettings
from distilnlp.training.parts import PREFIX

__all__ = [
    "check_optimizer",
    "check_trainable",
    "check_types",
    "classifier",
    "refuse_arguments",
    "refuse_for_tasks",
    "refuse_sharding",
]


def check_types(
    model: object,
    objective: object,
    args: object,
    processing_class: object,
    max_length: object,
    cache: object,
    parts: object,
    compute_metrics: object,
) -> None:
    """Raise RequestError for an argument of `DistillationTrainer` of a type that it cannot take."""
    if model is not None:
        classifier(model)
    wanted: tuple[tuple[str, object, type, str], ...] = (
        ("objective", objective, Objective, "an Objective, Objective([(1.0, SoftTarget())]) say"),
        ("args", args, TrainingArguments, "transformers.TrainingArguments(...)"),
        (
            "processing_class",
            processing_class,
            PreTrainedTokenizerBase,
            "a tokenizer, AutoTokenizer.from_pretrained()",
        ),
        ("cache", cache, CacheSettings, "CacheSettings(use='auto', 'always' or 'never')"),
    )
    for name, value, kind, needed in wanted:
        if value is not None and not isinstance(value, kind):
            raise RequestError(f"{name} is of type {type(value).__name__}: give {needed}")
    if max_length is not None and (not isinstance(max_length, int) or isinstance(max_length, bool) or max_length < 1):
        raise RequestError(f"max_length is {max_length!r}: give a number of tokens, 1 or more, or None")
    functions = list(compute_metrics.values()) if isinstance(compute_metrics, Mapping) else [compute_metrics]
    if compute_metrics is not None and not all(each is None or callable(each) for each in functions):
        raise RequestError(
            f"compute_metrics is of type {type(compute_metrics).__name__}: give a function of an EvalPrediction, as "
            "make_compute_metrics makes"
        )
    if not isinstance(parts, Sequence) or not all(isinstance(part, Part) for part in parts):
        raise RequestError("parts is a list of objects of the class Part: see distilnlp.part")


def classifier(model: object) -> PreTrainedModel | None:
    """The classifier of transformers that a student is, out of its adapters; None for None.

    Raises:
        RequestError: a name, a class, a model of another library, or one without a head.
    """
    inner = getattr(model, "get_base_model", None)  # of adapters
    if isinstance(model, nn.Module) and not isinstance(model, PreTrainedModel) and callable(inner):
        model = inner()
    if model is None:
        return None
    if not isinstance(model, PreTrainedModel):
        what = f"the text {model!r:.60}" if isinstance(model, str | Path) else f"of type {type(model).__name__}"
        raise RequestError(
            f"model is {what}: give a model of transformers, build_student(teacher, layers=3) or "
            "AutoModelForSequenceClassification.from_pretrained(...)"
        )
    if model.base_model is model:
        raise RequestError(
            f"model is a {type(model).__name__}, which has no head to give logits: load it with "
            "AutoModelForSequenceClassification"
        )
    name_architecture(model)
    return model


def check_trainable(model: nn.Module) -> None:
    """Raise RequestError for a student none of whose weights is trained."""
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise RequestError(
            f"requires_grad is False for every weight of the student ({type(model).__name__}), so nothing would be "
            "trained: call model.requires_grad_(True)"
        )


def check_optimizer(optimizer: torch.optim.Optimizer, model: nn.Module, trained_parts: Sequence[str]) -> None:
    """Raise RequestError for a given optimizer that lacks what is to be trained.

    Args:
        optimizer: that the user gave, or had made.
        model: the student, with the auxiliary modules of the parts as its children.
        trained_parts: the parts that have some.
    """
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    wanted = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    auxiliary = {name for name in wanted if f".{PREFIX}" in f".{name}"}
    missed = [name for name in sorted(auxiliary) if id(wanted[name]) not in held]
    if missed:
        raise RequestError(
            f"the optimizer that is given does not hold {missed[0]}, one of {len(missed)} weights that the "
            f"{' and '.join(trained_parts)} of the training learn along, which would stay as they are: give "
            "optimizer_cls_and_kwargs= without 'params' in place of optimizers="
        )
    if not any(id(wanted[name]) in held for name in wanted.keys() - auxiliary):
        raise RequestError(
            "the optimizer that is given holds none of the student's weights, which would stay as they are: make it "
            "of model.parameters() of this model"
        )


def refuse_arguments(args: TrainingArguments, compute_loss_func: object) -> None:
    """Raise RequestError for what Trainer would take and a distillation would ignore, or do wrong."""
    if args.push_to_hub:
        raise RequestError(
            "push_to_hub=True would publish half-trained models, and the token in a pickle of the arguments: "
            "leave it out, and call trainer.push_to_hub() after train()"
        )
    if compute_loss_func is not None:
        raise RequestError("compute_loss_func would replace the objective: register a loss and put it in there")
    if args.label_smoothing_factor:
        raise RequestError(
            "label_smoothing_factor has no effect on an objective: leave it out, and put LabelSmoothing(epsilon) there"
            " in place of HardLabel()"
        )


def refuse_sharding(args: TrainingArguments, *, fsdp: bool, deepspeed: bool) -> None:
    """Raise RequestError where student or teacher would not be whole in every process."""
    if args.n_gpu > 1:
        raise RequestError(
            f"{args.n_gpu} GPUs in one process (DataParallel) would leave the teacher on one of them: "
            "start with 'accelerate launch', or choose one with CUDA_VISIBLE_DEVICES"
        )
    if fsdp or deepspeed:
        raise RequestError(
            f"{'FSDP' if fsdp else 'DeepSpeed'} shards parameters that capture and projections need whole, and an "
            "encoder that has to be distilled fits on one device: use DistributedDataParallel (accelerate launch "
            "--multi_gpu)"
        )


def refuse_for_tasks(args: TrainingArguments | None, parts: Sequence[Part]) -> None:
    """Raise RequestError for what a training of several tasks cannot do."""
    strategy = None if args is None else str(args.train_sampling_strategy)
    if strategy is not None and not strategy.endswith("random"):
        raise RequestError(
            f"train_sampling_strategy is {strategy}, and with several tasks their sizes say which step is of which:"
            " leave it out"
        )
    for part in parts:
        if part.weight > 0 or part.uses_teacher or part.holds_teacher:
            raise RequestError(f"{part.name} follows a model of one task, and the student has several: leave it out")
