"""torchdistill: its DistillationBox, dynamic padding, float32. Run in an environment of its own, without distilnlp.

Without an Accelerator object: given one, the box reads ``accelerator.state.use_fp16`` of a frozen teacher, which
accelerate no longer has.
"""

import torch
from torch import nn
from torch.utils.data import RandomSampler
from torchdistill.core.distillation import DistillationBox
from torchdistill.datasets.registry import register_collate_func
from torchdistill.losses.registry import register_low_level_loss
from torchdistill.optim.registry import register_scheduler
from transformers import get_linear_schedule_with_warmup

from benchmarks._harness import device
from benchmarks.sides._work import (
    WARM_UP_SHARE,
    Clock,
    Epochs,
    Job,
    chunks,
    collate,
    load_models,
    predict,
    read_job,
    report,
    tokenise,
)

register_scheduler(get_linear_schedule_with_warmup)


@register_low_level_loss
class AttentionMSE(nn.Module):
    """Between the attention maps, the second of what an attention module returns."""

    def forward(self, student: tuple, teacher: tuple) -> torch.Tensor:
        """Mean over all positions."""
        return nn.functional.mse_loss(student[1], teacher[1])


def wrapped(loss: str, student: str, teacher: str, weight: float) -> dict:
    """A loss between the outputs of two modules."""
    sides = {"input": (False, student), "target": (True, teacher)}
    return {
        "criterion": {"key": loss, "kwargs": {}},
        "criterion_wrapper": {
            "key": "SimpleLossWrapper",
            "kwargs": {
                side: {"is_from_teacher": is_teacher, "module_path": path, "io": "output"}
                for side, (is_teacher, path) in sides.items()
            },
        },
        "weight": weight,
    }


def config(job: Job) -> dict:
    """What its YAML would say."""
    terms = {
        "logits": {
            "criterion": {
                "key": "KDLoss",
                "kwargs": {
                    "student_module_path": "classifier",
                    "student_module_io": "output",
                    "teacher_module_path": "classifier",
                    "teacher_module_io": "output",
                    "temperature": job.temperature,
                    "alpha": 0.0,
                },
            },
            "weight": job.temperature**2,  # without labels its loss has no T^2
        }
    }
    hooks: dict[str, list[str]] = {"student": ["classifier"], "teacher": ["classifier"]}
    for s, t in job.pairs:
        paths = [f"bert.encoder.layer.{layer - 1}" for layer in (s, t)]
        for loss, suffix in (("MSELoss", ""), ("AttentionMSE", ".attention.self")):
            terms[f"{loss}{s}"] = wrapped(loss, paths[0] + suffix, paths[1] + suffix, 1 / len(job.pairs))
            hooks["student"].append(paths[0] + suffix)
            hooks["teacher"].append(paths[1] + suffix)
    sides = {
        side: {
            "forward_proc": "forward_batch_only_as_kwargs",
            "forward_hook": {"input": [], "output": paths},
            "requires_grad": side == "student",
        }
        for side, paths in hooks.items()
    }
    return {
        **sides,
        "num_epochs": job.epochs,
        "train_data_loader": {
            "dataset_id": "train",
            "requires_supp": False,
            "sampler": {"class_or_func": RandomSampler},
            "collate_fn": "inputs",
            "kwargs": {"batch_size": job.batch_size},
        },
        "optimizer": {
            "key": "AdamW",
            "kwargs": {"lr": job.learning_rate, "weight_decay": job.weight_decay},
            "max_grad_norm": 1.0,
        },
        "scheduler": {
            "key": "get_linear_schedule_with_warmup",
            "kwargs": {
                "num_warmup_steps": int(WARM_UP_SHARE * job.steps),
                "num_training_steps": job.steps,
            },
            "scheduling_step": 1,
        },
        "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": terms}},
    }


def main() -> None:
    """Tokenise, train, evaluate."""
    job = read_job()
    tokenizer, teacher, student = load_models(job, "eager")

    @register_collate_func
    def inputs(features: list) -> dict[str, torch.Tensor]:
        batch = collate(tokenizer, features)
        batch.pop("labels")
        return batch

    clock, epochs = Clock(), Epochs()
    train, validation = (tokenise(job, tokenizer, split) for split in ("train", "validation"))
    clock.lap("tokenise")

    box = DistillationBox(teacher, student, {"train": train}, config(job), torch.device(device()), None, False, 1)
    for epoch in epochs(job.epochs):
        box.pre_epoch_process(epoch=epoch)
        for batch in box.train_data_loader:
            box.pre_forward_process()
            box.post_forward_process(loss=box.forward_process(batch))
        box.post_epoch_process()
    clock.lap("train")

    result = predict(box.student_model, (collate(tokenizer, part) for part in chunks(validation)))
    clock.lap("evaluate")
    report(job, clock, epochs.seconds, result, "fp32")


if __name__ == "__main__":
    main()
