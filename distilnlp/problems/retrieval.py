"""An order of the texts of a query by vectors: query and text are encoded apart, and their likeness is the score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from distilnlp.errors import RequestError, unknown
from distilnlp.problems.base import Problem, get_problem, register_problem
from distilnlp.problems.ranking import Ranking, by_example, queries_with_texts
from distilnlp.problems.reading import READING_FIELD, Encoded, Joined, Logits, Reader, TextReader
from distilnlp.problems.sentence_embedding import SentenceEmbedding, pair_cosines

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedTokenizerBase

__all__ = ["SIMILARITIES", "ApartReader", "Retrieval"]

SIMILARITIES = ("cosine", "dot")
# What a cosine, which is at most 1, is multiplied with before a softmax sees it: sentence-transformers' own.
COSINE_SCALE = 20.0


@register_problem("retrieval")
@dataclass(frozen=True)
class Retrieval(Ranking):
    """As `Ranking`, by a bi-encoder: a sentence encoder that reads query and texts apart.

    A model's logits are the vector of a text. The score of a text is the cosine, or the dot product, of its vector
    and the query's; in a training times ``scale``, so that a softmax over a query's scores can be sharp. It learns
    from relevance, and from the scores that a cross-encoder gives the pairs.

    Args:
        similarity: ``cosine`` or ``dot``.
        scale: above 0; what a training multiplies the similarity with.
    """

    similarity: str = "cosine"
    scale: float = COSINE_SCALE

    pipeline_tag: ClassVar[str] = SentenceEmbedding.pipeline_tag
    library: ClassVar[str] = SentenceEmbedding.library
    peft_task_type: ClassVar[str] = SentenceEmbedding.peft_task_type
    auto_class: ClassVar[str] = SentenceEmbedding.auto_class
    vectors: ClassVar[bool] = True
    takes_other_tokens: ClassVar[bool] = False
    apart: ClassVar[bool] = True
    recipe: ClassVar[str] = "_bi-encoder.yaml"
    reading: ClassVar[tuple[str, ...]] = ("similarity", "scale")

    @property
    def labelled_as(self) -> str:
        return Ranking.name

    def has_columns(self, features: Mapping[str, Any]) -> bool:
        """Never by themselves: they are those of a ranking."""
        return False

    def may_have_columns(self, features: Mapping[str, Any]) -> bool:
        return super().has_columns(features)

    def reader(self, tokenizer: PreTrainedTokenizerBase, limit: int, settings: Mapping[str, Any]) -> Reader:
        return ApartReader(tokenizer, limit, settings.get("similarity") or self.similarity)

    # ---- the model ----

    def config_settings(self, names: Sequence[str] | None) -> dict[str, Any]:
        return {"problem_type": self.name}

    def of_config(self, config: Any) -> Problem:
        """With the similarity and the scale of the model: as it was trained, else as its folder says."""
        said = getattr(config, READING_FIELD, None) or {}
        modules = getattr(config, "sentence_modules", None) or {}
        similarity = said.get("similarity") or modules.get("similarity", self.similarity)
        if similarity not in SIMILARITIES:
            raise unknown("similarity", str(similarity), SIMILARITIES)
        short = similarity == "cosine" or bool(modules.get("normalize"))
        scale = said.get("scale", COSINE_SCALE if short else 1.0)
        if isinstance(scale, bool) or not isinstance(scale, (int, float)) or not 0 < scale < np.inf:
            raise RequestError(f"scale is {scale!r:.40}: a number above 0 is needed")
        return replace(self, similarity=similarity, scale=float(scale))

    def head_size(self, config: Any) -> int:
        """1: the score of a text."""
        return 1

    def output_size(self, config: Any) -> int:
        """How many numbers a vector has."""
        return get_problem(SentenceEmbedding.name).head_size(config)

    def fits_head(self, config: Any, names: Sequence[str] | None) -> bool:
        return getattr(config, "sentence_modules", None) is not None

    def learns_from(self, teacher: Problem) -> bool:
        """Whoever gives the texts of a query scores."""
        return isinstance(teacher, Ranking)

    def asked_as(self, config: Any) -> Problem | None:
        """This kind for a model that gives vectors; a ranking for one that reads pairs."""
        return self if self.fits_head(config, None) else get_problem(Ranking.name).asked_as(config)

    def scored(self, logits: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The scores of the texts out of the vectors.

        Shapes:
            logits: ``(inputs, width)``; batch["groups"]: ``(queries, 1 + texts)``, the place of the query and of each
            of its texts, -1 where it has no more.
            returns ``(texts of all queries, 1)``, and the batch with the ``groups`` of those rows,
            ``(queries, texts)``.
        Raises:
            RequestError: a batch without ``groups``, or one of pairs.
        """
        import torch
        import torch.nn.functional as F

        if "groups" not in batch:
            raise RequestError(f"{self.name} needs batches with the places of a query and its texts ('groups')")
        labels = batch.get("labels")
        if labels is not None and labels.shape[-1] != batch["groups"].shape[-1] - 1:
            raise RequestError(
                f"{self.name} reads queries and texts apart, and these are tokens of pairs: give the trainer texts, or"
                f" tokenize(..., problem=get_problem('{self.name}'))"
            )
        vectors = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if self.similarity == "cosine":
            vectors = F.normalize(vectors, dim=-1)
        queries, texts = batch["groups"][:, 0], batch["groups"][:, 1:]
        there = texts >= 0  # (queries, texts)
        scores = (vectors[queries][:, None] * vectors[texts.clamp_min(0)]).sum(dim=-1) * self.scale
        numbers = there.flatten().cumsum(0).view_as(texts) - 1
        return scores[there][:, None], {**batch, "groups": numbers.where(there, -1)}

    # ---- the model card ----

    def summary(self, inputs: str, names: Sequence[str]) -> list[str]:
        return ["Gives queries and texts a vector each; the likeness of two puts the texts of a query in order"]

    def card_code(self) -> str:
        return "print(model.similarity(vectors[:1], vectors[1:]))  # of a query and its texts, the highest is the best"


class ApartReader(TextReader):
    """An input for the query and one for each of its texts; of an example without texts the query alone.

    Args:
        tokenizer, limit: as for `TextReader`.
        similarity: which number of two vectors is the score of a text.
    """

    apart: ClassVar[bool] = True

    def __init__(self, tokenizer: PreTrainedTokenizerBase, limit: int, similarity: str = "cosine") -> None:
        super().__init__(tokenizer, limit)
        self.similarity = similarity

    def encode(self, rows: Mapping[str, Sequence[Any]], words: bool = False) -> Encoded:
        if "text_pair" not in rows:
            return super().encode(rows, words)
        listed = [(row, [query, *texts]) for row, query, texts in queries_with_texts(rows)]
        flat = super().encode({"text": [text for _, texts in listed for text in texts]}, words)
        example = [row for row, texts in listed for _ in texts]
        return replace(flat, example=example, cut=[example[place] for place in flat.cut])

    def join(self, encoded: Encoded, logits: Sequence[Logits]) -> Joined:
        if len(set(encoded.example)) == len(encoded.example):
            return super().join(encoded, logits)
        stacked, example = np.stack(list(logits)), np.asarray(encoded.example)
        rows = [self._scores(each[0], each[1:]) for each in by_example(stacked, example)]
        return Joined(rows, [[] for _ in rows])

    def _scores(self, query: Logits, texts: Logits) -> NDArray[np.float32]:
        if self.similarity == "cosine":
            return pair_cosines(np.broadcast_to(query, texts.shape), texts)
        return (texts @ query)[:, None].astype(np.float32)
