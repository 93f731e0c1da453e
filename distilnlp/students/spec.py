"""The config of a student: the teacher's, with fewer layers, other sizes, or another architecture."""

from collections.abc import Mapping, Sequence

from huggingface_hub.errors import StrictDataclassError
from transformers import PreTrainedConfig

from distilnlp.errors import RequestError, nearest
from distilnlp.models.labels import drop_thresholds
from distilnlp.students.architectures import converted_config, field_name
from distilnlp.students.low_rank import BEFORE_NORM, has_map

__all__ = ["group_ends", "is_narrower", "shares_layers", "student_config", "wide_config"]

# What the teacher decides, with the way to say it differently where there is one.
FIXED = {
    "num_hidden_layers": "use layers=",
    "n_layers": "use layers=",
    "model_type": "use architecture=",
    "layer_types": "they follow the kept layers",
    "inner_group_num": "use num_hidden_groups",
    "vocab_size": "use vocabulary=",
    "pad_token_id": "the student reads the teacher's tokens",
    "id2label": "the student has the teacher's labels",
    "label2id": "the student has the teacher's labels",
    "num_labels": "the student has the teacher's labels",
    "problem_type": "the student has the teacher's labels",
}
# What a model without any of would be no model.
SIZES = ("hidden_size", "num_attention_heads", "intermediate_size", "embedding_size", "num_hidden_groups")
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
    if config.model_type == "albert" and not shares_layers(teacher):
        config.num_hidden_groups = len(kept)  # a group for each layer: nothing is shared
    for name, value in _with_heads(config, changes).items():
        try:
            setattr(config, name, value)
        except StrictDataclassError as error:
            reason = error.__cause__ or error
            raise RequestError(f"the student's config field '{name}' cannot be {value!r}: {reason}") from error
    if config.model_type == "albert":
        _check_groups(teacher, config, kept)
    return config


def is_narrower(changes: Mapping[str, object]) -> bool:
    """Whether changes to a config are about how many heads, feed-forward units or dimensions there are."""
    fields = ("hidden_size", "intermediate_size")
    return any(field in changes or field_name(field, "distilbert") in changes for field in fields)


def shares_layers(config: PreTrainedConfig) -> bool:
    """Whether several layers are one and the same, as an ALBERT's are that has fewer groups than layers."""
    return config.model_type == "albert" and config.num_hidden_groups < config.num_hidden_layers


def group_of(layer: int, config: PreTrainedConfig) -> int:
    """Which of ALBERT's shared layers runs as layer ``layer`` (counted from 1); both counts from its config."""
    groups, layers = int(config.num_hidden_groups), int(config.num_hidden_layers)
    return (layer - 1) * groups // layers


def wide_config(
    teacher: PreTrainedConfig, kept: Sequence[int], student: PreTrainedConfig, changes: Mapping[str, object]
) -> PreTrainedConfig:
    """The config of a student like ``student`` that is as wide as its teacher, from which a narrower one is chosen.

    Args:
        changes: those that ``student`` was made with.
    """
    widths = ("hidden_size", "intermediate_size", "num_attention_heads", *FOLLOWS_HIDDEN)
    own = {*widths, *(field_name(name, student.model_type) for name in widths)}
    rest = {name: value for name, value in changes.items() if name not in own}
    if has_map(student):  # the rank of its embeddings has nothing to do with the width of its layers
        rest["embedding_size"] = student.embedding_size
    return student_config(teacher, kept, rest, student.model_type)


def group_ends(student: PreTrainedConfig) -> list[int]:
    """The last layer, counted from 1, of each group of an ALBERT: the one whose weights the group starts with.

    Of a teacher of 6 layers in 3 groups that keeps more of the answers than the first of each group, or the mean of
    their weights.
    """
    groups = [group_of(layer, student) for layer in range(1, student.num_hidden_layers + 1)]
    return [len(groups) - groups[::-1].index(group) for group in range(student.num_hidden_groups)]


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _check_groups(teacher: PreTrainedConfig, student: PreTrainedConfig, kept: Sequence[int]) -> None:
    groups = student.num_hidden_groups
    if groups > len(kept):
        raise RequestError(
            f"num_hidden_groups is {groups!r}: {len(kept)} layers share 1 to {len(kept)} groups of weights"
        )
    if not shares_layers(teacher):
        return
    if any(group_of(own, student) != group_of(layer, teacher) for own, layer in enumerate(kept, start=1)):
        raise RequestError(
            f"layers {list(kept)} of an ALBERT with {teacher.num_hidden_groups} groups of shared layers do not divide "
            f"into as many equal groups: keep {teacher.num_hidden_layers} layers or the same number of each group"
        )


def _with_heads(config: PreTrainedConfig, changes: Mapping[str, object]) -> dict[str, object]:
    """``changes`` under the architecture's own names, checked, with all that must change along with a width."""
    known = config.to_dict()
    if config.model_type in BEFORE_NORM:  # their config need not say it
        known = {"embedding_size": config.hidden_size, **known}
    named = {field_name(name, config.model_type): value for name, value in changes.items()}
    for name in named:
        if name in FIXED:
            raise RequestError(f"the student's config field '{name}' cannot be set: {FIXED[name]}")
        if name == "embedding_size" and name not in known:
            raise RequestError(
                f"the embeddings of a {config.model_type} student are as wide as its layers, and embedding_size is of "
                "architectures that have a map between them: set architecture to albert, whose layers are BERT's"
            )
        if name not in known:
            match = nearest(name, known)
            hint = f"did you mean '{match}'?" if match else "see the config of its architecture for the accepted ones"
            raise RequestError(f"unknown field '{name}' in the config of a {config.model_type} student: {hint}")
    for name, value in named.items():
        if name in {field_name(size, config.model_type) for size in SIZES} and not _is_size(value):
            raise RequestError(f"the student's {name} is {value!r}: a whole number from 1 is needed")
    hidden, heads = (field_name(field, config.model_type) for field in ("hidden_size", "num_attention_heads"))
    if hidden not in named:
        return named
    width = named[hidden]
    head_size = known[hidden] // known[heads]
    if heads not in named and width % head_size:
        raise RequestError(
            f"a hidden_size of {width} does not divide into heads of the teacher's size {head_size}: "
            f"use a multiple of {head_size}, or set num_attention_heads and init='random'"
        )
    following = {name: width for name in FOLLOWS_HIDDEN if known.get(name) == known[hidden]}
    return {heads: width // head_size, **following, **named}
