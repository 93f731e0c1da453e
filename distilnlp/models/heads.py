"""Which class of transformers a model with a head for a kind of task is, and where its output has the logits."""

from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from distilnlp.models import word_models  # noqa: F401 - registers its models
from distilnlp.problems import Problem, problem_of_config

__all__ = ["head_logits", "model_class", "model_from_config", "name_architecture"]


def model_class(problem: Problem) -> Any:
    """What makes models for a kind of task: an object with ``from_config`` and ``from_pretrained``."""
    if problem.vectors:
        # Not at the top: it reads folders, whose checks need this module.
        from distilnlp.models.sentence_encoder import SentenceEncoder

        return SentenceEncoder
    return getattr(transformers, problem.auto_class)


def model_from_config(config: PreTrainedConfig) -> PreTrainedModel:
    """A model of the kind that a config names, with random weights."""
    made: PreTrainedModel = model_class(problem_of_config(config)).from_config(config)
    return made


def name_architecture(model: PreTrainedModel) -> None:
    """Write the class of a model into its config, which tells the kind of head; only a saved model has it there."""
    if not model.config.architectures:
        model.config.architectures = [type(model).__name__]


def head_logits(output: Any) -> Tensor:
    """The logits of a model's output; start and end of an answer side by side, ``(batch, tokens, 2)``."""
    if "start_logits" in output:
        return torch.stack([output.start_logits, output.end_logits], dim=-1)
    logits: Tensor = output.logits
    return logits
