"""Which kernel computes the student's attention in training."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from transformers import TrainingArguments

from distilnlp.training.kernels import SHORT, attention_kernel
from tests.runs import make_trainer
from tests.tiny import tiny_model


def has_flash(inputs: Mapping[str, torch.Tensor], folder: Path, **args: object) -> bool:
    with attention_kernel(inputs, TrainingArguments(str(folder), use_cpu=True, **args)):
        return torch.backends.cuda.flash_sdp_enabled()  # of the CPU as well, by its name of another device


@pytest.mark.parametrize(
    ("tokens", "args", "flash"),
    [
        (SHORT - 1, {"bf16": True}, False),
        (SHORT, {"bf16": True}, True),
        (8, {}, True),
        (8, {"bf16": True, "gradient_checkpointing": True}, True),
    ],
)
def test_short_texts_on_a_cpu_in_bf16_do_without_flash_attention(tokens, args, flash, tmp_path: Path):
    assert has_flash({"input_ids": torch.zeros(2, tokens, dtype=torch.long)}, tmp_path, **args) is flash
    assert torch.backends.cuda.flash_sdp_enabled()


def test_who_is_given_no_tokens_keeps_the_usual_kernel(tmp_path: Path):
    assert has_flash({"inputs_embeds": torch.zeros(2, 8, 32)}, tmp_path, bf16=True)


def test_a_training_in_bf16_calls_the_student_without_flash_attention(tmp_path: Path):
    student, seen = tiny_model("bert", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0), []
    student.register_forward_hook(lambda *_: seen.append((student.training, torch.backends.cuda.flash_sdp_enabled())))

    make_trainer(tmp_path, model=student, args={"bf16": True, "max_steps": 2}).train()

    assert [flash for training, flash in seen if training] == [False, False]
