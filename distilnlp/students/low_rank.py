"""Embeddings of a smaller width with a linear map behind them: the best approximation of the teacher's of that rank.

DeBERTa has such a map in front of the norm of its embeddings: the tables times their leading directions, and these as
the map, are the best of that rank. In ALBERT and ELECTRA the map comes after the norm, which then has
``embedding_size`` dimensions, centres what it reads and divides by its length, so that a low rank is no plain product
of two matrices. With x the sum of a token's rows and y = x - mean(x), the teacher computes
``g * y * sqrt(d) / |y| + b``. Let the columns of ``B`` (d x r) be orthonormal and span the y, or nearly, and those of
``Q`` (e x r), with e = r + 1, be orthonormal and orthogonal to the vector of ones, so that no mean is lost. Tables of
rows ``Q B' y`` then have the length of y and the mean 0, and a norm without scale and the map
``sqrt(d / e) * diag(g) B Q'`` with the bias b give what the teacher's norm gave: exactly at e = d, for centred rows
have rank d - 1; up to the part of y outside of ``B`` below it; and up to the norm's epsilon, which counts e / d times
as much.

The directions are those of the texts: a token counts as often as it occurs. By all tokens alike, most of which hardly
occur, they are much worse.

Source: Lan et al. 2020, "ALBERT", arXiv:1909.11942, section 3.1, for the form; how it is started from a teacher is
ours.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from distilnlp.errors import RequestError

__all__ = ["embedding_rank", "embedding_width", "factorised", "has_map", "is_low_rank"]

TABLES = ("word_embeddings", "position_embeddings", "token_type_embeddings")
# Architectures that can have a map between embeddings and layers, and what it is called.
MAPS = {
    "albert": "encoder.embedding_hidden_mapping_in",
    "electra": "embeddings_project",
    "deberta": "embeddings.embed_proj",
    "deberta-v2": "embeddings.embed_proj",
}
BEFORE_NORM = ("deberta", "deberta-v2")
UNSEEN = 0.05  # the share of the weight that all tokens have alike, whether they occur or not
WORDS = ("cls.predictions", "predictions.", "generator_", "words.", "lm_", "mask_predictions")


def embedding_width(config: PreTrainedConfig) -> int:
    """The columns of the word embeddings."""
    width: int = config.to_dict().get("embedding_size") or config.hidden_size
    return width


def has_map(config: PreTrainedConfig) -> bool:
    """Whether a linear map stands between the embeddings and the layers."""
    return config.model_type == "albert" or (
        config.model_type in MAPS and embedding_width(config) != config.hidden_size
    )


def is_low_rank(student: PreTrainedConfig, teacher: PreTrainedConfig) -> bool:
    """Whether a student's embeddings can hold less than its teacher's, whatever the width of its layers."""
    return has_map(student) and embedding_width(student) < embedding_width(teacher)


def factorised(
    weights: dict[str, Tensor],
    teacher: PreTrainedConfig,
    student: PreTrainedConfig,
    batches: Sequence[Mapping[str, Tensor]] = (),
) -> dict[str, Tensor]:
    """``weights`` with embeddings and map of the student's ``embedding_size``; themselves where it is the teacher's.

    Args:
        weights: of a model with the teacher's embeddings, under the student's names but for the number of a layer.
        batches: inputs whose tokens tell how much each row matters; without any, all rows are alike.
    Raises:
        RequestError: a width above the teacher's, or a head for masked words, which reads the tables.
    """
    size, width = embedding_width(student), embedding_width(teacher)
    if not has_map(student) or (has_map(teacher) and size == width):
        return weights
    if not 2 <= size <= width:
        raise RequestError(
            f"an embedding_size of {size} cannot be made of the teacher's embeddings, {width} wide: give 2 to {width}"
        )
    if any(name.startswith(WORDS) for name in weights):
        raise RequestError(
            "the head for masked words reads the embeddings' tables, so that they cannot have another width: leave "
            "embedding_size and architecture as they are, or take a teacher with another head"
        )
    prefix = next(name for name in weights if name.endswith("embeddings.word_embeddings.weight"))
    prefix = prefix.removesuffix("embeddings.word_embeddings.weight")
    tables = {name: f"{prefix}embeddings.{name}.weight" for name in TABLES}
    centred = {name: _centred(weights[name]) for name in tables.values() if name in weights}
    shares = dict(zip(tables.values(), (_shares(batches, name) for name in TABLES), strict=True))
    directions = _directions([(table, shares[name]) for name, table in centred.items()])[1]  # (width, width)
    norm, found = f"{prefix}embeddings.LayerNorm", f"{prefix}{MAPS[student.model_type]}"
    made: dict[str, Tensor] = {}
    if student.model_type in BEFORE_NORM:
        turned = directions[:, :size]  # (width, size)
        matrix = turned
    else:
        turned = directions[:, : size - 1] @ _without_mean(size).to(directions).T
        scale, shift = weights[f"{norm}.weight"].double(), weights[f"{norm}.bias"].double()
        matrix = (width / size) ** 0.5 * scale[:, None] * turned
        if f"{found}.weight" in weights:
            shift = weights[f"{found}.weight"].double() @ shift + weights[f"{found}.bias"].double()
        made |= {f"{norm}.weight": scale.new_ones(size), f"{norm}.bias": scale.new_zeros(size)}
        made[f"{found}.bias"] = shift
    if f"{found}.weight" in weights:
        matrix = weights[f"{found}.weight"].double() @ matrix
    made[f"{found}.weight"] = matrix
    made |= {name: table @ turned for name, table in centred.items()}
    return {**weights, **{name: weight.float() for name, weight in made.items()}}


@torch.no_grad()
def embedding_rank(model: PreTrainedModel, energy: float, batches: Sequence[Mapping[str, Tensor]] = ()) -> int:
    """The smallest ``embedding_size`` that keeps a share of what a model's embeddings hold.

    Args:
        energy: share of the squared length of a centred sum of rows, 0 < energy <= 1.
        batches: as for `factorised`.
    Raises:
        RequestError: a share outside of that; embeddings that are no sum of words, positions and token types.
    """
    if not 0 < energy <= 1:
        raise RequestError(f"energy is a share, above 0 and at most 1; got {energy!r}")
    tables = [
        (_centred(weight), _shares(batches, table))
        for name, weight in model.state_dict().items()
        for table in TABLES
        if name.endswith(f"embeddings.{table}.weight")
    ]
    if not tables:
        raise RequestError(
            f"the embeddings of {model.config.model_type} are no tables of words, positions and types of token: take "
            "BERT or one of its relatives"
        )
    values = _directions(tables)[0]
    shares = values.cumsum(0) / values.sum()
    return min(int((shares < energy - 1e-12).sum()) + 2, len(values))


def _centred(table: Tensor) -> Tensor:
    """Each row without its mean, which the norm behind it takes away, in float64."""
    return table.double() - table.double().mean(1, keepdim=True)


def _shares(batches: Sequence[Mapping[str, Tensor]], table: str) -> Tensor | None:
    """How often each row of a table is read, ``(rows up to the last one that is,)``; None without texts."""
    counts = torch.zeros(0, dtype=torch.float64)
    for batch in batches:
        ids = batch["input_ids"]
        if table == "token_type_embeddings":
            ids = batch.get("token_type_ids", torch.zeros_like(ids))
        elif table == "position_embeddings":
            ids = torch.arange(ids.shape[1]).expand(ids.shape)
        read = ids[batch["attention_mask"].bool()] if "attention_mask" in batch else ids.flatten()
        own = torch.bincount(read, minlength=len(counts)).double()
        counts = own + torch.nn.functional.pad(counts, (0, len(own) - len(counts)))
    return counts / counts.sum() if batches else None


def _directions(tables: list[tuple[Tensor, Tensor | None]]) -> tuple[Tensor, Tensor]:
    """Of the sum of a row of each table: its energy along each direction, the largest first, and these.

    Args:
        tables: with how often each row is drawn; None: all alike.
    Shapes:
        tables: ``(rows, width)``, ``(rows or less,)``.
        returns: ``(width,)``, ``(width, width)`` with a direction in each column.
    """
    first, width = tables[0][0], tables[0][0].shape[1]
    total, spread = first.new_zeros(width), first.new_zeros(width, width)
    for table, shares in tables:
        alike = table.new_full((len(table),), 1 / len(table))
        if shares is None:
            weight = alike
        else:
            seen = torch.nn.functional.pad(shares, (0, max(0, len(table) - len(shares))))[: len(table)]
            weight = (1 - UNSEEN) * seen + UNSEEN * alike
        mean = weight @ table
        spread = spread + (table - mean).T @ ((table - mean) * weight[:, None])
        total = total + mean
    values, vectors = torch.linalg.eigh(spread + torch.outer(total, total))
    return values.flip(0).clamp(min=0), vectors.flip(1)


def _without_mean(size: int) -> Tensor:
    """``(size, size - 1)``: orthonormal columns, each orthogonal to the vector of ones (Helmert's)."""
    found = torch.zeros(size, size - 1, dtype=torch.float64, device="cpu")
    for column in range(1, size):
        found[:column, column - 1] = 1
        found[column, column - 1] = -column
    made: Tensor = found / found.norm(dim=0)
    return made
