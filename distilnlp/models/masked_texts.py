"""Texts that a masked language model writes: blanks that are filled a few at a time, each seeing those before it."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from distilnlp.errors import RequestError
from distilnlp.models.checks import token_limit
from distilnlp.models.heads import head_logits
from distilnlp.problems import problem_of_config

__all__ = ["MaskedWriter"]

_BATCH = 64


class MaskedWriter:
    """Draws texts from a masked language model.

    A text of ``n`` tokens begins as ``n`` masks. In each pass an equal share of those that are left, at random places,
    is drawn from what the model gives for them, all of a pass at once; the next pass sees what was drawn. Special
    tokens are never drawn, and the first token begins a word.

    Args:
        model: with a head for the vocabulary.
        tokenizer: the model's.
        temperature: > 0, dimensionless: of the softmax that is drawn from.
        passes: 1 or more; a text of fewer tokens takes one for each.
        name: of the model, for messages.
    Source: Wang & Cho 2019, "BERT has a Mouth, and It Must Speak", arXiv:1902.04094, whose chain goes on drawing
        single places anew; here each place is drawn once.
    Raises:
        RequestError: a model of another kind of task, or a tokenizer without a mask.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        temperature: float = 1.0,
        passes: int = 8,
        name: str = "the model",
    ) -> None:
        problem = problem_of_config(model.config)
        if not problem.labels_itself:
            raise RequestError(f"{name} is for {problem.name}, and texts are drawn from a masked language model")
        if tokenizer.mask_token_id is None:
            raise RequestError(f"the tokenizer of {name} has no mask: take that of the masked language model")
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.temperature = temperature
        self.passes = passes
        self._special = sorted(set(tokenizer.all_special_ids))
        self._first = torch.tensor(_that_begin(tokenizer, int(model.config.vocab_size)))
        self._most = _longest(model, tokenizer)

    @torch.no_grad()
    def texts(self, lengths: Sequence[int], random: np.random.Generator) -> list[str]:
        """A text of each number of tokens.

        Args:
            lengths: 1 or more each; one that the model has no room for is as long as there is room.
            random: what is drawn follows from it alone.
        """
        draw = torch.Generator().manual_seed(int(random.integers(2**63)))
        written: list[str] = []
        for start in range(0, len(lengths), _BATCH):
            some = [min(length, self._most) for length in lengths[start : start + _BATCH]]
            written += self._written(some, draw)
        return written

    def _written(self, lengths: Sequence[int], draw: torch.Generator) -> list[str]:
        tokenizer, device = self.tokenizer, self.model.device
        mask = str(tokenizer.mask_token)
        batch = tokenizer([" ".join([mask] * length) for length in lengths], padding=True, return_tensors="pt")
        ids: Tensor = batch["input_ids"]  # (texts, tokens)
        blanks = ids == tokenizer.mask_token_id
        # The rank of each blank among those of its text: in which order they are filled.
        order = torch.rand(ids.shape, generator=draw).masked_fill(~blanks, 2).argsort(-1).argsort(-1)
        counts = blanks.sum(-1, keepdim=True)  # (texts, 1)
        first = blanks.int().argmax(-1)  # (texts,)
        allowed = torch.zeros(int(self.model.config.vocab_size), dtype=torch.bool)
        allowed[: len(tokenizer)] = True
        allowed[self._special] = False
        for step in range(self.passes):
            filled = blanks & (order * self.passes < counts * (step + 1)) & (ids == tokenizer.mask_token_id)
            if not filled.any():
                continue
            inputs = {name: batch[name].to(device) for name in batch if name != "input_ids"}
            logits = head_logits(self.model(input_ids=ids.to(device), **inputs)).cpu().float()[filled]
            may = allowed.expand(len(logits), -1).clone()  # (blanks, vocabulary)
            rows, places = filled.nonzero(as_tuple=True)
            may[places == first[rows]] &= self._first
            shares = (logits / self.temperature).masked_fill(~may, -torch.inf).softmax(-1)
            ids[filled] = torch.multinomial(shares, 1, generator=draw)[:, 0]
        return [str(tokenizer.decode(row[blank])).strip() for row, blank in zip(ids, blanks, strict=True)]


def _that_begin(tokenizer: PreTrainedTokenizerBase, size: int) -> NDArray[np.bool_]:
    """``(size,)``, which tokens may begin a text: those that are read again as they are written."""
    ids = list(range(min(len(tokenizer), size)))
    read = tokenizer([str(tokenizer.decode([each])) for each in ids], add_special_tokens=False)["input_ids"]
    begin = np.zeros(size, dtype=bool)
    begin[ids] = [own == [each] for each, own in zip(ids, read, strict=True)]
    begin[[each for each in tokenizer.all_special_ids if each < size]] = False
    if not begin.any():
        raise RequestError("no token of the tokenizer is a word by itself, so that no text can begin")
    return begin


def _longest(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> int:
    """The tokens of a text that the model has room for."""
    return max(1, token_limit(model.config, tokenizer, None) - tokenizer.num_special_tokens_to_add())
