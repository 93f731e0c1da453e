"""TextBrewer: padded to the full length as in its examples, or to the longest of the batch (``--dynamic``).

Its own loop, in float32 (its mixed precision is Apex, for GPUs); it saves the student at the end of an epoch.
"""

import sys
import tempfile

import torch
from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig
from torch.utils.data import DataLoader
from transformers import get_linear_schedule_with_warmup

from benchmarks._harness import device
from benchmarks.sides._work import (
    WARM_UP_SHARE,
    Clock,
    Job,
    chunks,
    collate,
    load_models,
    make_optimizer,
    predict,
    read_job,
    report,
    tokenise,
)


def adaptor(batch: dict, outputs: object) -> dict:
    """What its losses see of a model."""
    return {
        "logits": outputs.logits,
        "hidden": outputs.hidden_states,
        "attention": outputs.attentions,
        "inputs_mask": batch["attention_mask"],
    }


def matches(job: Job, heads: int) -> list[dict]:
    """The same terms as on the other sides; its attention loss is a sum over heads, the others' a mean."""
    share = 1 / len(job.pairs)
    hidden = [
        {"layer_S": s, "layer_T": t, "feature": "hidden", "loss": "hidden_mse", "weight": share} for s, t in job.pairs
    ]
    attention = [
        {"layer_S": s - 1, "layer_T": t - 1, "feature": "attention", "loss": "attention_mse", "weight": share / heads}
        for s, t in job.pairs
    ]
    return hidden + attention


def main(dynamic: bool) -> None:
    """Tokenise, train, evaluate."""
    job = read_job()
    tokenizer, teacher, student = load_models(job, "eager")
    clock = Clock()
    padding = False if dynamic else "max_length"
    train, validation = (tokenise(job, tokenizer, split, padding) for split in ("train", "validation"))
    clock.lap("tokenise")

    def inputs(features: list) -> dict[str, torch.Tensor]:
        batch = collate(tokenizer, features)
        batch.pop("labels")  # so the models compute no loss of their own
        return batch

    with tempfile.TemporaryDirectory() as folder:
        distiller = GeneralDistiller(
            TrainingConfig(output_dir=folder, device=device()),
            # Its soft loss has no T^2.
            DistillationConfig(
                temperature=job.temperature,
                kd_loss_weight=job.temperature**2,
                intermediate_matches=matches(job, student.config.num_attention_heads),
            ),
            model_T=teacher,
            model_S=student,
            adaptor_T=adaptor,
            adaptor_S=adaptor,
        )
        with distiller:
            distiller.train(
                make_optimizer(job, student),
                DataLoader(train, job.batch_size, shuffle=True, collate_fn=inputs),
                num_epochs=job.epochs,
                scheduler_class=get_linear_schedule_with_warmup,
                scheduler_args={
                    "num_warmup_steps": int(WARM_UP_SHARE * job.steps),
                    "num_training_steps": job.steps,
                },
                max_grad_norm=1.0,
                output_hidden_states=True,
                output_attentions=True,
            )
    clock.lap("train")

    result = predict(student, (collate(tokenizer, part) for part in chunks(validation)))
    clock.lap("evaluate")
    report(job, clock, [], result, "fp32")


if __name__ == "__main__":
    main("--dynamic" in sys.argv)
