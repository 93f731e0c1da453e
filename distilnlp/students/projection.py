"""The linear map behind a sentence encoder's pooling, where a student's vectors are not as wide as its states."""

from dataclasses import replace

from transformers import PreTrainedConfig

from distilnlp.errors import RequestError
from distilnlp.models.sentence_encoder import SENTENCE, sentence_modules
from distilnlp.models.sentence_modules import DenseSpec

__all__ = ["is_projection", "project"]


def project(student: PreTrainedConfig, teacher: PreTrainedConfig, dimension: int | None) -> None:
    """Give a student's vectors their width, in place, by a linear map that is learned where its states have another.

    Args:
        student: its config, with the modules of its teacher.
        teacher: of the model that it is made of; nothing is done where that is no sentence encoder.
        dimension: how many numbers a vector has; None: as many as the teacher's.
    Raises:
        RequestError: a dimension for a model that gives no vectors, that is no whole number above 0, or that is not
            the teacher's.
    """
    if getattr(teacher, SENTENCE, None) is None:
        if dimension is not None:
            raise RequestError("dimension is for sentence encoders, whose answers are vectors: leave it out")
        return
    if dimension is not None and (isinstance(dimension, bool) or dimension < 1):
        raise RequestError(f"dimension is {dimension}: a whole number of 1 or more is needed")
    modules = sentence_modules(teacher)
    width = modules.width(teacher.hidden_size)
    if dimension not in (None, width):
        raise RequestError(
            f"a student with vectors of {dimension} numbers cannot be compared with a teacher's of {width}: reduce "
            "the teacher's first (SentenceEncoder.reduced; a recipe does it by itself), or give a dimension of "
            f"{width}"
        )
    pooled = len(modules.pooling) * student.hidden_size
    first = modules.dense[0] if modules.dense else None
    if first is not None and first.in_features != pooled:
        modules = replace(modules, dense=(replace(first, in_features=pooled), *modules.dense[1:]))
    elif first is None and pooled != width:
        modules = replace(modules, dense=(DenseSpec(pooled, width),))
    setattr(student, SENTENCE, modules.to_dict())


def is_projection(name: str) -> bool:
    """Whether a weight is of the linear map, which may be new where the teacher has none."""
    return name.startswith("dense.")
