"""A teacher that reads tokens of its own: of another tokenizer, or of the text that a translation was made of."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from distilnlp.data.teacher_inputs import TEACHER_ROWS, own_batch
from distilnlp.errors import RequestError
from distilnlp.losses import Objective
from distilnlp.models.checks import check_fits, token_limit
from distilnlp.outputs import Outputs
from distilnlp.problems.reading import Reader, TextReader
from distilnlp.teachers import Teacher
from distilnlp.teachers.cached import ANSWERS

__all__ = ["answers_to", "check_compares_vectors", "own_reader"]


def check_compares_vectors(objective: Objective, why: str) -> None:
    """Raise RequestError for a term that compares more than the vectors of two models which read other tokens.

    Args:
        objective: resolved.
        why: they read other tokens, in words.
    Raises:
        RequestError: with the term as its key.
    """
    for term in objective:
        needs = term.needs("teacher") | term.needs("student") if term.loss.uses_teacher else None
        if needs is not None and (needs.layers or needs.input_gradients or needs.words):
            raise RequestError(
                f"{term.name} compares what the models have for each token, and they read other tokens ({why}): leave "
                f"{term.name} out, or take losses between vectors (cosine, logit_mse, info_nce with on: logits)",
                key=[term.name],
            )


def own_reader(tokenizer: PreTrainedTokenizerBase, configs: Sequence[Any], max_length: int) -> Reader:
    """What reads the texts of a teacher with tokens of its own: as long as the student's, or as long as it can.

    Args:
        tokenizer: the teacher's.
        configs: of its models; anything else, or none, where it has none.
        max_length: tokens of the student's inputs.
    Raises:
        RequestError: the tokenizer does not fit the model.
    """
    limit = max_length
    known = [config for config in configs if isinstance(config, PreTrainedConfig)]
    for config in known:
        check_fits(config, tokenizer)
        limit = token_limit(config, tokenizer, limit)
    return TextReader(tokenizer, limit if known else min(limit, tokenizer.model_max_length))


def answers_to(teacher: Teacher, batch: Mapping[str, Tensor]) -> Outputs:
    """What a teacher says of a batch that has its own inputs: the vector of each example's text, ``(batch, width)``.

    A text that several examples share is read once.

    Args:
        teacher: prepared; or with answers that are kept, which the batch has then.
        batch: as the collator makes it.
    Raises:
        RequestError: the batch has no inputs of the teacher's.
    """
    if ANSWERS in batch:
        return teacher(batch)
    if TEACHER_ROWS not in batch:
        raise RequestError(
            "the teacher reads other tokens than the student, and the batch has none of them: give texts that are not "
            "tokenised yet, and leave out data_collator="
        )
    found = teacher(own_batch(batch))
    vectors = found.get_logits()[batch[TEACHER_ROWS]]
    return Outputs(logits=vectors, attention_mask=batch.get("attention_mask"), problem=found.problem)
