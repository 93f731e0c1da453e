"""A teacher whose answers were recorded once and come with the data."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from distilnlp.errors import RequestError
from distilnlp.outputs import ModelInfo, Needs, Outputs
from distilnlp.problems import TEACHER_LOGITS, Problem, get_problem

__all__ = ["RecordedTeacher"]


class RecordedTeacher:
    """Gives the logits that stand in the batch's column ``teacher_logits``: of a large model, an ensemble, or an API.

    It knows nothing but logits: no hidden states, no attention, no gradients. The data set holds the column, tokenised
    or not, and the collator carries it. `distilnlp.load_task` makes it of probabilities, which become their logarithms
    (of several labels, the log-odds), never below ``log(1e-8)``. A softmax does not see what is added to all logits of
    a row, so that a temperature ``T`` means what it means for a live teacher: ``p ** (1/T)``, normalised. What was
    rounded away is gone: a probability that was written as 0 counts as 1e-8, which is 0.01 of the largest at T = 4.
    Losses that compare logits themselves (``logit_mse``) see log-probabilities, and want recorded logits.

    Args:
        label_names: the labels in the order of the column; None where they have no names (a number).
        problem: the kind of task that the answers are of, or its name.
        name: what to call it in a message.
    Shapes:
        batch["teacher_logits"]: ``(batch, labels)``, the logits that it gives; of words with tags ``(batch, tokens,
            labels)``, where a token that answers for no word may have any.
    """

    def __init__(
        self,
        label_names: Sequence[str] | None,
        problem: Problem | str = "single_label_classification",
        name: str = "the recorded teacher",
    ) -> None:
        kind = get_problem(problem)
        self.label_names = None if label_names is None else tuple(label_names)
        self.info = ModelInfo(name, layers=0, width=0, heads=0, num_logits=kind.num_logits(label_names), problem=kind)
        self.tokenizer: PreTrainedTokenizerBase | None = None
        self.columns = frozenset({TEACHER_LOGITS})
        self._order: list[int] | None = None

    def prepare(self, where: torch.device, needs: Needs) -> None:
        """Raises RequestError where more than logits is needed."""
        if needs.layers or needs.input_gradients:
            raise RequestError(f"{self.info.name} has recorded answers and nothing else: use losses between logits")

    def release(self) -> None:
        """It holds nothing."""

    def reorder_labels(self, order: tuple[int, ...]) -> None:
        """From now on give logit ``order[i]`` as the i-th."""
        self._order = list(order)

    def __call__(self, batch: Mapping[str, Tensor]) -> Outputs:
        """The batch's recorded logits. Raises RequestError for a batch without them."""
        if TEACHER_LOGITS not in batch:
            raise RequestError(
                f"the batch has no column '{TEACHER_LOGITS}', which {self.info.name} answers with: load the data with "
                "load_task(..., recorded=RecordedColumns(...))"
            )
        logits = batch[TEACHER_LOGITS].float()
        logits = logits if logits.ndim > 1 else logits[:, None]  # one number a row
        return Outputs(logits=logits if self._order is None else logits[..., self._order], problem=self.info.problem)
