"""The labels of a model's head: their names, and the order that its logits have them in."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from distilnlp.errors import RequestError
from distilnlp.label_names import match_names
from distilnlp.problems import DECISION_THRESHOLDS
from distilnlp.typed import typed

__all__ = ["align_labels", "drop_thresholds", "label_names_of", "label_order", "relabel", "start_at_shares"]


def label_names_of(model: PreTrainedModel | PreTrainedConfig) -> tuple[str, ...] | None:
    """The labels of a model's head (or config) in order; None where they are only ``LABEL_0``, ``LABEL_1``, ..."""
    config = model.config if isinstance(model, PreTrainedModel) else model
    names = tuple(str(name) for _, name in sorted((int(key), name) for key, name in (config.id2label or {}).items()))
    return None if all(name == f"LABEL_{index}" for index, name in enumerate(names)) else names


def relabel(config: PreTrainedConfig, settings: Mapping[str, object]) -> PreTrainedConfig:
    """Change the problem or the labels in a config, in place; decision thresholds for other ones are dropped.

    Args:
        settings: fields and their values, as `Problem.config_settings` gives them.
    """
    before = (config.problem_type, list((config.id2label or {}).values()))
    for key, value in settings.items():
        setattr(config, key, value)
    if before != (config.problem_type, list((config.id2label or {}).values())):
        drop_thresholds(config)
    return config


def drop_thresholds(config: PreTrainedConfig) -> None:
    """Forget the decision thresholds in a config, in place, because the model is to be another one."""
    vars(config).pop(DECISION_THRESHOLDS, None)


@typed
def align_labels(model: PreTrainedModel, label_names: Sequence[str]) -> PreTrainedModel:
    """Put a classifier's labels into another order: the rows of its last layer, names and thresholds in its config.

    Args:
        model: changed in place. Labels without names (``LABEL_0``, ...) are taken to be in the given order already.
        label_names: the same labels in the order wanted.
    Raises:
        RequestError: other labels, or a head whose last layer is not linear with one row a label.
    """
    own = label_names_of(model)
    order = label_order(label_names, own, "the data") if own is not None else None
    if order is not None:
        rows = list(order)
        last = [part for part in model.modules() if isinstance(part, nn.Linear)][-1]
        if last.out_features != len(rows):
            raise RequestError(
                f"the last layer of {type(model).__name__} has not one row a label: cannot reorder them"
            )
        with torch.no_grad():
            last.weight.copy_(last.weight[rows])
            if last.bias is not None:
                last.bias.copy_(last.bias[rows])
        thresholds = getattr(model.config, DECISION_THRESHOLDS, None)
        if isinstance(thresholds, list) and len(thresholds) == len(rows):  # others are refused where they are read
            setattr(model.config, DECISION_THRESHOLDS, [thresholds[row] for row in rows])
    if model.config.num_labels == len(label_names):
        model.config.id2label = dict(enumerate(label_names))
        model.config.label2id = {name: index for index, name in enumerate(label_names)}
    return model


def start_at_shares(model: PreTrainedModel, positives: Sequence[int], rows: int) -> None:
    """Let a new head of several labels give each label its share of the training rows, whatever the text.

    From probabilities of 0.5 it would take hundreds of steps to get there, in which the body learns to answer every
    text alike.

    Args:
        model: changed in place: the bias of its last layer.
        positives: in how many rows each label holds, in the order of the logits.
        rows: how many there are.
    Source: Lin et al. 2017, arXiv:1708.02002, section 3.3.
    """
    last = [part for part in model.modules() if isinstance(part, nn.Linear)][-1]
    if last.bias is None or last.out_features != len(positives):
        return
    shares = (torch.tensor(positives, dtype=torch.float64) + 1) / (rows + 2)
    with torch.no_grad():
        last.bias.copy_(shares.logit())


def label_order(reference: Sequence[str], other: Sequence[str], whose: str) -> tuple[int, ...] | None:
    """For each reference label its place in another list, or None when the order is the same.

    The names are compared as `distilnlp.label_names.match_names` says.

    Args:
        reference: the labels in the order that counts.
        other: a model's labels in the order of its logits.
        whose: whose labels ``reference`` are, for the message.
    Raises:
        RequestError: the two lists are not the same labels.
    """
    order = match_names(reference, other)
    if order is None:
        raise RequestError(
            f"the labels of {whose} are {', '.join(reference)} and the model's are {', '.join(other)}: fine-tune it "
            "on this task, or correct id2label in its config"
        )
    return None if order == tuple(range(len(order))) else order
