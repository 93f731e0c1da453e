"""The recipe that users write: a Trainer subclass of a few lines, eager attention, everything asked of the models."""

import tempfile
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from transformers import DataCollatorWithPadding, Trainer

from benchmarks._harness import make_trainer
from benchmarks.sides._trainer import TimeEpochs, scores_of, training
from benchmarks.sides._work import (
    Clock,
    Job,
    load_models,
    masked_mean,
    read_job,
    read_rows,
    report,
    score,
    soft_target,
)


class KDTrainer(Trainer):
    """Logits, hidden states and attention maps of a teacher."""

    def __init__(self, *args: Any, teacher: nn.Module, job: Job, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.teacher = teacher
        self.job = job

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        """The objective; in evaluation the model's own loss."""
        if not model.training:
            return super().compute_loss(model, inputs, return_outputs, **kwargs)
        inputs.pop("labels")
        asked = {"output_hidden_states": True, "output_attentions": True}
        student = model(**inputs, **asked)
        with torch.no_grad():
            teacher = self.teacher(**inputs, **asked)
        mask = inputs["attention_mask"].float()
        loss = soft_target(student.logits, teacher.logits, self.job.temperature)
        for s, t in self.job.pairs:
            hidden = (student.hidden_states[s] - teacher.hidden_states[t]).square()
            attention = (student.attentions[s - 1] - teacher.attentions[t - 1]).square()
            pairs = mask[:, None, :, None] * mask[:, None, None, :]
            loss = loss + masked_mean(hidden, mask[:, :, None]) / len(self.job.pairs)
            loss = loss + masked_mean(attention, pairs) / len(self.job.pairs)
        return (loss, student) if return_outputs else loss


def main() -> None:
    """Tokenise, train, evaluate."""
    job = read_job()
    tokenizer, teacher, student = load_models(job, "eager")
    raw = {split: Dataset.from_list(read_rows(job, split)) for split in ("train", "validation")}
    clock, epochs = Clock(), TimeEpochs()
    data = {
        split: rows.map(
            lambda row: tokenizer(row["text"], row["text_pair"], truncation=True, max_length=job.max_length),
            batched=True,
        )
        for split, rows in raw.items()
    }
    clock.lap("tokenise")

    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(
            KDTrainer,
            folder=folder,
            training=training(job),
            model=student,
            data_collator=DataCollatorWithPadding(tokenizer),
            train_dataset=data["train"],
            eval_dataset=data["validation"],
            compute_metrics=lambda p: score(*map(torch.as_tensor, (p.predictions.argmax(-1), p.label_ids))),
            callbacks=[epochs],
            teacher=teacher,
            job=job,
        )
        trainer.train()
        clock.lap("train")
        result = trainer.evaluate()
        clock.lap("evaluate")
    report(job, clock, epochs.seconds, scores_of(result), job.precision)


if __name__ == "__main__":
    main()
