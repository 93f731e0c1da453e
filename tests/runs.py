"""Short trainings of tiny models, the same for all tests of the trainer."""

from pathlib import Path
from typing import Any, TypeVar

import torch
from datasets import ClassLabel, Dataset
from torch import nn
from transformers import PreTrainedModel, TrainingArguments

from distilnlp.losses import AttentionScores, HardLabel, HiddenState, Objective, SoftTarget
from distilnlp.training.trainer import DistillationTrainer
from tests.tiny import tiny_model, tiny_tokenizer, toy_dataset

NAMES = ("bad", "good", "mixed")
Model = TypeVar("Model", bound=nn.Module)


def dataset(rows: int = 44, seed: int = 0, names: tuple[str, ...] = NAMES) -> Dataset:
    return toy_dataset(rows, seed).cast_column("label", ClassLabel(names=list(names)))


def teacher_model(kind: str = "bert", **changes: Any) -> PreTrainedModel:
    return tiny_model(kind, **{"layers": 4, "label_names": NAMES, "seed": 1, **changes})


def student_model(kind: str = "bert", dropout: bool = True, **changes: Any) -> PreTrainedModel:
    model = tiny_model(kind, **{"layers": 2, "label_names": NAMES, "seed": 2, **changes})
    if not dropout:
        without_dropout(model)
    return model


def without_dropout(model: Model) -> Model:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def all_losses() -> Objective:
    return Objective([(0.5, HardLabel()), (0.5, SoftTarget()), (1.0, HiddenState()), (1.0, AttentionScores())])


def arguments(folder: Path, **changes: Any) -> TrainingArguments:
    """Plain SGD, so that a parameter's change is the gradient and nothing else."""
    settings: dict[str, Any] = {
        "per_device_train_batch_size": 8,
        "num_train_epochs": 1,
        "learning_rate": 1e-2,
        "optim": "sgd",
        "lr_scheduler_type": "constant",
        "max_grad_norm": 0.0,
        "logging_steps": 2,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
    }
    return TrainingArguments(output_dir=str(folder), **{**settings, **changes})


def make_trainer(folder: Path, **changes: Any) -> DistillationTrainer:
    """A trainer of a 2-layer student under a 4-layer teacher; keyword ``args`` changes the training arguments."""
    args = arguments(folder, **changes.pop("args", {}))
    settings: dict[str, Any] = {
        "model": student_model(),
        "teacher": teacher_model(),
        "objective": all_losses(),
        "train_dataset": dataset(),
        "processing_class": tiny_tokenizer(),
    }
    settings.update(changes)
    return DistillationTrainer(args=args, **{key: value for key, value in settings.items() if value is not None})


def largest_difference(first: nn.Module, second: nn.Module) -> float:
    """Over all parameters, which must have the same names."""
    one, two = dict(first.named_parameters()), dict(second.named_parameters())
    assert one.keys() == two.keys()
    return max((one[name].detach() - two[name].detach()).abs().max().item() for name in one)


def snapshot(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
