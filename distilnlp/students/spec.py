"""The config of a student: the teacher's, with fewer layers, other sizes, or another architecture."""

from collections.abc import Mapping, Sequence

from transformers import PreTrainedConfig

from distilnlp.errors import RequestError, nearest
from distilnlp.models.labels import drop_thresholds
from distilnlp.students.architectures import converted_config, field_name

__all__ = ["group_of", "student_config"]

# What the teacher decides, with the way to say it differently where there is one.
FIXED = {
    "num_hidden_layers": "use layers=",
    "n_layers": "use layers=",
    "model_type": "use architecture=",
    "layer_types": "they follow the kept layers",
    "vocab_size": "use vocabulary=",
    "pad_token_id": "the student reads the teacher's tokens",
    "id2label": "the student has the teacher's labels",
    "label2id": "the student has the teacher's labels",
    "num_labels": "the student has the teacher's labels",
    "problem_type": "the student has the teacher's labels",
}
# Widths that are the hidden size in most checkpoints; where they are the teacher's, they are the student's too.
FOLLOWS_HIDDEN = ("embedding_size", "pooler_hidden_size")


def student_config(
    teacher: PreTrainedConfig, kept: Sequence[int], changes: Mapping[str, object], architecture: str | None
) -> PreTrainedConfig:
    """The config of a student that keeps the layers ``kept`` (counted from 1) of a model of config ``teacher``.

    Args:
        changes: fields to set, under BERT's or the architecture's own names. With another ``hidden_size`` and no
            ``num_attention_heads``, there are as many heads as keep the teacher's head size.
        architecture: ``model_type`` of the student; None is the teacher's.
    Raises:
        RequestError: a field that the architecture lacks or the teacher decides; no whole number of heads.
    """
    if architecture is None or architecture == teacher.model_type:
        # Through a dict, so that neither the teacher's attention kernel nor its origin come along.
        config = type(teacher).from_dict(teacher.to_dict())
    else:
        config = converted_config(teacher, architecture)
    drop_thresholds(config)  # they are of the teacher's probabilities
    config.name_or_path = ""
    config.dtype = None
    config.num_hidden_layers = len(kept)
    if config.model_type == "modernbert":
        config.layer_types = [teacher.layer_types[layer - 1] for layer in kept]
    if config.model_type == "albert":
        _check_groups(teacher, config, kept)
    for name, value in _with_heads(config, changes).items():
        setattr(config, name, value)
    return config


def group_of(layer: int, config: PreTrainedConfig) -> int:
    """Which of ALBERT's shared layers runs as layer ``layer`` (counted from 1); both counts from its config."""
    groups, layers = int(config.num_hidden_groups), int(config.num_hidden_layers)
    return (layer - 1) * groups // layers


def _check_groups(teacher: PreTrainedConfig, student: PreTrainedConfig, kept: Sequence[int]) -> None:
    if any(group_of(own, student) != group_of(layer, teacher) for own, layer in enumerate(kept, start=1)):
        raise RequestError(
            f"layers {list(kept)} of an ALBERT with {teacher.num_hidden_groups} groups of shared layers do not divide "
            f"into as many equal groups: keep {teacher.num_hidden_layers} layers or the same number of each group"
        )


def _with_heads(config: PreTrainedConfig, changes: Mapping[str, object]) -> dict[str, object]:
    """``changes`` under the architecture's own names, checked, with all that must change along with a width."""
    known = config.to_dict()
    named = {field_name(name, config.model_type): value for name, value in changes.items()}
    for name in named:
        if name in FIXED:
            raise RequestError(f"the student's config field '{name}' cannot be set: {FIXED[name]}")
        if name not in known:
            match = nearest(name, known)
            hint = f"did you mean '{match}'?" if match else "see the config of its architecture for the accepted ones"
            raise RequestError(f"unknown field '{name}' in the config of a {config.model_type} student: {hint}")
    hidden, heads = (field_name(field, config.model_type) for field in ("hidden_size", "num_attention_heads"))
    if hidden not in named:
        return named
    width = named[hidden]
    if isinstance(width, bool) or not isinstance(width, int) or width < 1:
        raise RequestError(f"the student's hidden_size is {width}: a whole number from 1 is needed")
    head_size = known[hidden] // known[heads]
    if heads not in named and width % head_size:
        raise RequestError(
            f"a hidden_size of {width} does not divide into heads of the teacher's size {head_size}: "
            f"use a multiple of {head_size}, or set num_attention_heads and init='random'"
        )
    following = {name: width for name in FOLLOWS_HIDDEN if known.get(name) == known[hidden]}
    return {heads: width // head_size, **following, **named}
