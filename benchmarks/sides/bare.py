"""The bare PyTorch loop: only what distillation costs. Batches in random order, or of like length (``--like-length``).

Attention scores come from the outputs of the query and key projections, hidden states from the model; fused AdamW,
clipping, a linear schedule, autocast where the precision is bf16.
"""

import random
import sys
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from benchmarks._harness import device
from benchmarks.sides._work import (
    Clock,
    Epochs,
    Features,
    Job,
    chunks,
    collate,
    load_models,
    make_optimizer,
    make_schedule,
    masked_mean,
    predict,
    read_job,
    report,
    soft_target,
    tokenise,
)


class Scores:
    """The attention scores of some layers in the model's last forward pass."""

    def __init__(self, model: Any, layers: Sequence[int]) -> None:
        self.heads = model.config.num_attention_heads
        self._kept: dict[tuple[int, str], Tensor] = {}
        for layer in layers:
            attention = model.base_model.encoder.layer[layer - 1].attention.self
            for name in ("query", "key"):
                attention.get_submodule(name).register_forward_hook(self._keep(layer, name))

    def _keep(self, layer: int, name: str) -> Any:
        def hook(module: Any, inputs: Any, output: Tensor) -> None:
            self._kept[layer, name] = output

        return hook

    def __call__(self, layer: int) -> Tensor:
        """``(batch, heads, tokens, tokens)``."""
        query, key = (self._heads(self._kept[layer, name]) for name in ("query", "key"))
        return query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5

    def _heads(self, projected: Tensor) -> Tensor:
        return projected.float().unflatten(-1, (self.heads, -1)).transpose(1, 2)


def order(job: Job, train: Sequence[Features], like_length: bool) -> list[list[int]]:
    """The batches of an epoch."""
    indices = random.sample(range(len(train)), len(train))
    if like_length:
        indices.sort(key=lambda i: len(train[i]["input_ids"]))
    batches = [indices[start : start + job.batch_size] for start in range(0, len(indices), job.batch_size)]
    random.shuffle(batches)
    return batches


def main(like_length: bool) -> None:
    """Tokenise, train, evaluate."""
    job = read_job()
    tokenizer, teacher, student = load_models(job)
    clock, epochs = Clock(), Epochs()
    train, validation = (tokenise(job, tokenizer, split) for split in ("train", "validation"))
    clock.lap("tokenise")

    scores_t, scores_s = Scores(teacher, [t for _, t in job.pairs]), Scores(student, [s for s, _ in job.pairs])
    optimizer = make_optimizer(job, student, fused=True)
    schedule = make_schedule(job, optimizer)
    student.train()
    for _ in epochs(job.epochs):
        for indices in order(job, train, like_length):
            batch = {
                name: tensor.to(device()) for name, tensor in collate(tokenizer, [train[i] for i in indices]).items()
            }
            batch.pop("labels")
            with torch.autocast(device(), torch.bfloat16, enabled=job.precision == "bf16"):
                with torch.no_grad():
                    out_t = teacher(**batch, output_hidden_states=True)
                out_s = student(**batch, output_hidden_states=True)
            mask = batch["attention_mask"].float()
            loss = soft_target(out_s.logits.float(), out_t.logits.float(), job.temperature)
            for s, t in job.pairs:
                hidden = out_s.hidden_states[s].float() - out_t.hidden_states[t].float()
                attention = scores_s(s) - scores_t(t)
                loss = loss + masked_mean(hidden.square(), mask[:, :, None]) / len(job.pairs)
                pairs = mask[:, None, :, None] * mask[:, None, None, :]
                loss = loss + masked_mean(attention.square(), pairs) / len(job.pairs)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
    clock.lap("train")

    result = predict(student, (collate(tokenizer, part) for part in chunks(validation)))
    clock.lap("evaluate")
    report(job, clock, epochs.seconds, result, job.precision)


if __name__ == "__main__":
    main("--like-length" in sys.argv)
