"""The labels of a model's head: their names, and the order that its logits have them in."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from distilnlp.errors import RequestError
from distilnlp.label_names import find_name, match_names
from distilnlp.problems import DECISION_THRESHOLDS
from distilnlp.problems.several_tasks import TASKS
from distilnlp.typed import typed

__all__ = [
    "align_labels",
    "drop_thresholds",
    "fit_head",
    "keep_label_rows",
    "label_names_of",
    "label_order",
    "last_layer",
    "relabel",
    "rename_answers",
    "start_at_shares",
]


def label_names_of(model: PreTrainedModel | PreTrainedConfig) -> tuple[str, ...] | None:
    """The labels of a model's head (or config) in order; None where they are only ``LABEL_0``, ``LABEL_1``, ..."""
    config = model.config if isinstance(model, PreTrainedModel) else model
    names = tuple(str(name) for _, name in sorted((int(key), name) for key, name in (config.id2label or {}).items()))
    return None if _nameless(names) else names


def _nameless(names: Sequence[str]) -> bool:
    return all(name == f"LABEL_{index}" for index, name in enumerate(names))


def relabel(config: PreTrainedConfig, settings: Mapping[str, object]) -> PreTrainedConfig:
    """Change the problem or the labels in a config, in place; thresholds and tasks of other ones are dropped.

    Args:
        settings: fields and their values, as `Problem.config_settings` gives them.
    """
    before = (config.problem_type, list((config.id2label or {}).values()))
    for key, value in settings.items():
        setattr(config, key, value)
    if before != (config.problem_type, list((config.id2label or {}).values())):
        drop_thresholds(config)
        vars(config).pop(TASKS, None)
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
    order = _order_of(model.config, label_names)
    if order is not None:
        _reorder(model, order)
    _rename(model.config, label_names)
    return model


def rename_answers(config: PreTrainedConfig, label_names: Sequence[str]) -> list[int] | None:
    """As `align_labels`, of a model whose logits are put into the order when they are there.

    Args:
        config: of the model, changed in place: names and thresholds.
        label_names: as for `align_labels`.
    Returns:
        for each label its place among the model's logits; None where the order is the same.
    """
    order = _order_of(config, label_names)
    if order is not None:
        _reorder_thresholds(config, order)
    _rename(config, label_names)
    return None if order is None else list(order)


def _order_of(config: PreTrainedConfig, label_names: Sequence[str]) -> tuple[int, ...] | None:
    own = label_names_of(config)
    return None if own is None else label_order(label_names, own, "the data")


def _rename(config: PreTrainedConfig, label_names: Sequence[str]) -> None:
    if config.num_labels == len(label_names):
        config.id2label = dict(enumerate(label_names))
        config.label2id = {name: index for index, name in enumerate(label_names)}


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
    last = last_layer(model, len(positives))
    if last.bias is None:
        return
    shares = (torch.tensor(positives, dtype=torch.float64) + 1) / (rows + 2)
    with torch.no_grad():
        last.bias.copy_(shares.logit())


def fit_head(
    model: PreTrainedModel, own: Sequence[str] | None, label_names: Sequence[str], seed: int, *, keep: bool = False
) -> bool:
    """Make the head that a model was loaded with one for other names: in their order, or new where they are others.

    Nothing is known of a head without names (``LABEL_0``, ...), which stays as it is.

    Args:
        model: changed in place; its config has the new names already.
        own: the labels that its head was made for, in the order of its logits; None where they have no names.
        label_names: the labels in the order wanted.
        seed: of a new last layer; the global random state is left alone.
        keep: leave a head for other labels as it is.
    Returns:
        Whether the last layer was made new.
    """
    if own is None or _nameless(label_names) or len(own) != len(label_names):
        return False
    order = match_names(label_names, own)
    if order is not None:
        if order != tuple(range(len(order))):
            _reorder(model, order)
        return False
    if keep:
        return False
    last = last_layer(model, len(label_names))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        last.weight.normal_(0.0, float(model.config.to_dict().get("initializer_range") or 0.02))
        if last.bias is not None:
            last.bias.zero_()
    return True


def keep_label_rows(model: PreTrainedModel, old: PreTrainedModel) -> None:
    """Give the labels that a model had before its label set grew the rows of its head that they had.

    Args:
        model: changed in place; its labels are those of ``old`` and others.
        old: as it was before.
    Raises:
        RequestError: a label of ``old`` is none of the model's; a head whose last layer is not linear.
    """
    before, now = label_names_of(old), label_names_of(model)
    if before is None or now is None:
        raise RequestError("labels without names cannot be told from new ones: write them into id2label of its config")
    gone = [name for name in before if find_name(name, now) is None]
    if gone:
        raise RequestError(f"the label '{gone[0]}' is not among {', '.join(now)}, so that it cannot be kept")
    rows = [now.index(find_name(name, now) or name) for name in before]
    theirs, ours = last_layer(old, len(before)), last_layer(model, len(now))
    with torch.no_grad():
        ours.weight[rows] = theirs.weight.to(ours.weight)
        if ours.bias is not None and theirs.bias is not None:
            ours.bias[rows] = theirs.bias.to(ours.bias)


def last_layer(model: PreTrainedModel, labels: int) -> nn.Linear:
    """The layer that gives the logits. Some models make it before their body, so the last one made may be another."""
    body = f"{model.base_model_prefix}."
    head = [part for name, part in model.named_modules() if isinstance(part, nn.Linear) and not name.startswith(body)]
    if not head or head[-1].out_features != labels:
        raise RequestError(f"the last layer of {type(model).__name__} has not one row a label: cannot reorder them")
    return head[-1]


def _reorder(model: PreTrainedModel, order: Sequence[int]) -> None:
    rows, last = list(order), last_layer(model, len(order))
    with torch.no_grad():
        last.weight.copy_(last.weight[rows])
        if last.bias is not None:
            last.bias.copy_(last.bias[rows])
    _reorder_thresholds(model.config, order)


def _reorder_thresholds(config: PreTrainedConfig, order: Sequence[int]) -> None:
    thresholds = getattr(config, DECISION_THRESHOLDS, None)
    if isinstance(thresholds, list) and len(thresholds) == len(order):  # others are refused where they are read
        setattr(config, DECISION_THRESHOLDS, [thresholds[row] for row in order])


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
