"""What must hold before step 0: the two models read the same tokens and mean the same by their labels."""

import itertools
import logging
from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from distilnlp.errors import RequestError

__all__ = ["check_same_tokens", "confirm_label_order"]

logger = logging.getLogger(__name__)


def check_same_tokens(
    student: PreTrainedTokenizerBase, teacher: PreTrainedTokenizerBase, texts: Sequence[str] = ()
) -> None:
    """Both models must give every token id the same meaning (equal vocabulary sizes are not enough).

    Args:
        student: the tokenizer that makes the batches.
        teacher: the tokenizer that the teacher was trained with; its vocabulary may be larger.
        texts: a few real texts, tokenized by both.
    Raises:
        RequestError: a token with another id, or a text cut another way (cased and uncased, say).
    """
    known = teacher.get_vocab()
    wrong = [token for token, index in student.get_vocab().items() if known.get(token) != index]
    if wrong:
        raise RequestError(
            f"teacher and student read different tokens: {len(wrong)} of the student's {len(student.get_vocab())} "
            f"token ids mean something else to the teacher (the first is {wrong[0]!r}); use a student with the "
            "teacher's vocabulary (one built from its layers has it)"
        )
    for text in texts:
        if student(text)["input_ids"] != teacher(text)["input_ids"]:
            raise RequestError(
                f"teacher and student cut the text {text[:40]!r} into different tokens though their vocabularies "
                "agree (one may be lower-casing): use the teacher's tokenizer for both"
            )


def confirm_label_order(answers: Iterable[tuple[Tensor, Tensor]], reference: Sequence[str]) -> None:
    """A teacher whose labels have no names (LABEL_0, LABEL_1, ...) must show on real labels that it counts as we do.

    Args:
        answers: of a few batches, the teacher's logits ``(batch, classes)`` and the labels ``(batch,)``, or
            ``(batch, classes)`` for several labels a text, each of which is then an answer of its own.
        reference: the labels as the data counts them.
    Raises:
        RequestError: no labels to see it by; no better than chance; or another order fits much better.
    """
    classes = len(reference)
    table = torch.zeros(classes, classes)  # (label, logit): how often the logit says what the label is
    guessed = torch.zeros(2, classes)  # how often a label holds, and how often not
    seen, several = 0, False
    for logits, labels in answers:
        several = labels.ndim == 2
        holds = labels.bool() if several else F.one_hot(labels, classes).bool()
        says = logits > 0 if several else F.one_hot(logits.argmax(dim=-1), classes).bool()
        both = holds[:, :, None] == says[:, None, :] if several else holds[:, :, None] & says[:, None, :]
        table += both.sum(dim=0)
        guessed += torch.stack([holds.sum(dim=0), (~holds).sum(dim=0)])
        seen += labels.numel()
    hint = f"write its labels into id2label of its config, in the order of its logits (here: {', '.join(reference)})"
    if seen == 0:
        raise RequestError(
            f"the teacher's labels have no names and there are no labels to check their order by: {hint}"
        )
    right = float(table.diagonal().sum()) / seen
    commonest = float(guessed.amax(dim=0).sum() if several else guessed[0].max()) / seen
    # Three standard errors: a teacher that guesses passes once in a thousand times.
    margin = 3 * (commonest * (1 - commonest) / seen) ** 0.5
    if classes <= 6:
        best = max(itertools.permutations(range(classes)), key=lambda order: float(table[range(classes), order].sum()))
        fits = float(table[range(classes), best].sum()) / seen
        if best != tuple(range(classes)) and fits > right + margin:
            raise RequestError(
                f"the teacher's labels have no names and seem to be in another order: on {seen} answers it is right "
                f"{right:.0%} of the time as it stands and {fits:.0%} when its logits are read as "
                f"{', '.join(reference[best.index(i)] for i in range(classes))}: {hint}"
            )
    if right < commonest + margin:
        raise RequestError(
            f"the teacher's labels have no names, and on {seen} answers it is right {right:.0%} of the time, no "
            f"better than always giving the commonest ({commonest:.0%}): fine-tune it, or {hint}"
        )
    logger.info("the teacher's labels have no names; it is right on %.0f %% of %d answers", 100 * right, seen)
