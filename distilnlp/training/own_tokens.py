"""A teacher that reads tokens of its own: of another tokenizer, or of the text that a translation was made of."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedTokenizerBase

from distilnlp.data.teacher_inputs import TEACHER_ROWS, own_batch, own_mask
from distilnlp.errors import RequestError
from distilnlp.losses import Objective
from distilnlp.models.checks import check_fits, token_limit
from distilnlp.outputs import Needs, Outputs
from distilnlp.part import Part
from distilnlp.problems import TEACHER_ALIGNMENT, Problem
from distilnlp.problems.reading import Reader, TextReader
from distilnlp.teachers import Teacher
from distilnlp.teachers.cached import ANSWERS

__all__ = ["aligns", "answers_to", "check_compares", "check_parts_compare", "own_reader"]


def aligns(objective: Objective | None, problem: Problem | None, translated: bool) -> bool:
    """Whether the tokens of two models that read others have to be aligned, by the places of their letters.

    Args:
        objective: None takes what fits the head.
        problem: the kind of task of the student.
        translated: whether they read other texts, in which no letter has the same place.
    """
    by_word = problem is not None and problem.rows == "token"
    return not translated and (by_word or (objective is not None and objective.by_token))


def check_compares(
    objective: Objective,
    problem: Problem,
    why: str,
    tokenizers: Iterable[PreTrainedTokenizerBase | None],
    translated: bool,
    columns: Sequence[str] | None = None,
) -> None:
    """Whether each term has something to compare in two models that read other tokens.

    Args:
        objective: resolved.
        problem: the kind of task of the student.
        why: they read other tokens, in words.
        tokenizers: the student's and the teacher's.
        translated: whether they read other texts too.
        columns: of the tokenised data; None where they are not tokenised yet, or not known.
    Raises:
        RequestError: with the term as its key: it compares attention or gradients, which nothing aligns; hidden states
            of other texts; hidden states and answers by word at once. Without a key: tokens to be aligned of a
            tokenizer that does not tell where they stand, or data that do not say how.
    """
    for term in objective:
        if not term.loss.uses_teacher:
            continue
        needs: Needs = term.needs("teacher") | term.needs("student")
        by_pair = bool(needs.attention | needs.values) or needs.input_gradients
        by_token = bool(needs.layers) and term.loss.by_token
        if by_pair or (by_token and (translated or (needs.logits and problem.rows == "token"))):
            others = (
                "" if translated else "hidden_state, which is compared by the pieces of text that both cut alike, or "
            )
            raise RequestError(
                f"{term.name} compares what the models have for each token, and they read other tokens ({why}): leave "
                f"{term.name} out, or take {others}losses between logits or one vector a text (response, cosine, pkd)",
                key=[term.name],
            )
    if not aligns(objective, problem, translated):
        return
    slow = [type(each).__name__ for each in tokenizers if each is not None and not each.is_fast]
    if slow:
        raise RequestError(
            f"the models read other tokens ({why}), which are aligned by where they stand in the text, and {slow[0]}"
            " does not tell that: use a fast tokenizer"
        )
    if columns and TEACHER_ALIGNMENT not in columns:
        raise RequestError(
            "the training data are tokenised for both models and do not say which tokens of theirs belong together"
            f" ({TEACHER_ALIGNMENT}): give the texts, which are then tokenised and aligned"
        )


def check_parts_compare(parts: Iterable[Part], why: str) -> None:
    """Raise RequestError for a part that reads the layers of a teacher with other tokens, or writes texts for it."""
    for part in parts:
        if part.own_tokenizer is not None:
            raise RequestError(
                f"the part {part.name} writes texts that student and teacher read, and they have other tokens ({why}):"
                " leave it out, or take a teacher with the student's tokenizer"
            )
        if part.weight > 0 and part.needs_teacher().layers:
            raise RequestError(
                f"the part {part.name} reads the layers of a teacher that reads other tokens ({why}): leave it out, or"
                " take a teacher with the student's tokenizer"
            )


def own_reader(
    tokenizer: PreTrainedTokenizerBase, configs: Sequence[Any], max_length: int, align: bool = False
) -> Reader:
    """What reads the texts of a teacher with tokens of its own: as long as the student's, or as long as it can.

    Args:
        tokenizer: the teacher's.
        configs: of its models; anything else, or none, where it has none.
        max_length: tokens of the student's inputs.
        align: whether its tokens are aligned with the student's.
    Raises:
        RequestError: the tokenizer does not fit the model.
    """
    limit = max_length
    known = [config for config in configs if isinstance(config, PreTrainedConfig)]
    for config in known:
        check_fits(config, tokenizer)
        limit = token_limit(config, tokenizer, limit)
    reader = TextReader(tokenizer, limit if known else min(limit, tokenizer.model_max_length))
    reader.keeps_tokens = align and tokenizer.is_fast
    return reader


def answers_to(teacher: Teacher, batch: Mapping[str, Tensor]) -> Outputs:
    """What a teacher says of a batch that has its own inputs: of each of the student's what it says of its text.

    All is in the teacher's own tokens: ``(batch, its tokens, ...)``. A text that several examples share is read once.

    Args:
        teacher: prepared; or with answers that are kept, which the batch has then.
        batch: as the collator makes it.
    Raises:
        RequestError: the batch has no inputs of the teacher's.
    """
    if ANSWERS in batch:
        return teacher(batch)  # by example already
    if TEACHER_ROWS not in batch:
        raise RequestError(
            "the teacher reads other tokens than the student, and the batch has none of them: give texts that are not "
            "tokenised yet, and leave out data_collator="
        )
    found, rows = teacher(own_batch(batch)), batch[TEACHER_ROWS]
    return Outputs(
        logits=None if found.logits is None else found.logits[rows],
        hidden_states={layer: states[rows] for layer, states in found.hidden_states.items()},
        attention_mask=own_mask(batch),
        problem=found.problem,
    )
