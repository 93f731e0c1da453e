"""What a loss sees of a model: tensors by layer, and nothing of the model itself."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.problems import Problem, get_problem

__all__ = ["Answers", "ModelInfo", "Needs", "Outputs"]


@dataclass(frozen=True)
class ModelInfo:
    """The sizes of a model that decide whether a loss can compare it with another.

    Args:
        name: what to call the model in a message.
        layers: number of blocks.
        width: size of a hidden state.
        heads: attention heads of a block.
        num_logits: number of logits.
        problem: the kind of task that its head is for.
        kept_layers: the teacher layer (1-based) that each block was copied from, where the config says so.
        layer_types: the attention of each block (``full_attention``, ``sliding_attention``) where they differ.
        members: of a teacher that is made of several, the sizes of each, by its name.
    """

    name: str
    layers: int
    width: int
    heads: int
    num_logits: int
    problem: Problem = field(default_factory=lambda: get_problem("single_label_classification"))
    kept_layers: tuple[int, ...] | None = None
    layer_types: tuple[str, ...] | None = None
    members: Mapping[str, "ModelInfo"] = field(default_factory=dict)


@dataclass(frozen=True)
class Needs:
    """The tensors that an objective asks of one model.

    Args:
        logits: whether the head's logits are used.
        hidden_states: layers whose hidden state is used; 0 is the embeddings.
        attention: layers whose attention (queries, keys and what masks them) is used; the first is 1.
        values: layers whose values are used; the first is 1.
        input_gradients: whether the gradient of the label's logit with respect to the embeddings is used; it comes
            with the logits.
        words: whether the word of each token is used, which the tokenizer tells and no model; of the student only.
        members: of a teacher that is made of several, what is used of one of them alone, by its name.
    Raises:
        ValueError: ``input_gradients`` without ``logits``.
    """

    logits: bool = False
    hidden_states: frozenset[int] = frozenset()
    attention: frozenset[int] = frozenset()
    values: frozenset[int] = frozenset()
    input_gradients: bool = False
    words: bool = False
    members: Mapping[str, "Needs"] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.input_gradients and not self.logits:
            raise ValueError("the gradient is that of a logit: ask for the logits too")

    def __or__(self, other: "Needs") -> "Needs":
        return Needs(
            self.logits or other.logits,
            self.hidden_states | other.hidden_states,
            self.attention | other.attention,
            self.values | other.values,
            self.input_gradients or other.input_gradients,
            self.words or other.words,
            {
                name: self.members.get(name, Needs()) | other.members.get(name, Needs())
                for name in (*self.members, *(name for name in other.members if name not in self.members))
            },
        )

    def __bool__(self) -> bool:
        """Whether anything of the model is used, which has to run for it."""
        return self.logits or bool(self.layers) or any(self.members.values())

    @property
    def layers(self) -> frozenset[int]:
        """All layers that anything is used of."""
        return self.hidden_states | self.attention | self.values


@dataclass(frozen=True)
class Outputs:
    """The outputs of a student or a teacher for one batch. Can be made by hand, without any model.

    Shapes: with ``batch`` examples of ``tokens`` tokens (padding included)
        logits: ``(batch, classes)``, or ``(batch, tokens, classes)`` of a head on every token.
        hidden_states[l]: ``(batch, tokens, width)``; l = 0 is the output of the embeddings.
        queries[l], keys[l], values[l]: ``(batch, heads, tokens, head_dim)``, before dropout; l >= 1.
        scales[l]: float that multiplies ``q k^T``; where absent ``head_dim ** -0.5``.
        allowed[l]: bool, broadcasts to ``(batch, heads, tokens, tokens)``: which key a query may look at (padding,
            local windows); where absent all.
        attentions[l]: ``(batch, heads, tokens, tokens)``, probabilities before dropout, from models that compute
            attention in a way of their own (DeBERTa); others leave it empty.
        input_gradients: ``(batch, tokens, width)``, of the logit of each example's label (of the only logit in a
            regression) with respect to hidden state 0.
        attention_mask: ``(batch, tokens)``, 1 for a token and 0 for padding; None means no padding.
        words: ``(batch, tokens)``, the number of the word that a token is a piece of, in its text (the words of a pair
            are counted on); below 0 for none (special tokens, padding). Of the student only.
        weights: ``(batch,)``, how much each example counts, 0 or more, with a mean of 1 over the training data; None
            means 1 each. Of the student only.
        problem: the kind of task that the logits answer, which says what a row of classes in them stands for; None
            tells it by their shape: a choice for each text, or for each token.
        members: of a teacher that is made of several, the outputs of those of which something is used alone, by name.
    """

    logits: Tensor | None = None
    hidden_states: Mapping[int, Tensor] = field(default_factory=dict)
    queries: Mapping[int, Tensor] = field(default_factory=dict)
    keys: Mapping[int, Tensor] = field(default_factory=dict)
    values: Mapping[int, Tensor] = field(default_factory=dict)
    scales: Mapping[int, float] = field(default_factory=dict)
    allowed: Mapping[int, Tensor] = field(default_factory=dict)
    attentions: Mapping[int, Tensor] = field(default_factory=dict)
    input_gradients: Tensor | None = None
    attention_mask: Tensor | None = None
    words: Tensor | None = None
    weights: Tensor | None = None
    problem: Problem | None = None
    members: Mapping[str, "Outputs"] = field(default_factory=dict)

    def get_logits(self) -> Tensor:
        """Logits ``(batch, classes)``, at least float32. Raises RequestError where there are none."""
        if self.logits is None:
            raise RequestError("a loss needs logits and the model gave none: use a model with a classification head")
        return at_least_float32(self.logits)

    def get_hidden_state(self, layer: int) -> Tensor:
        """Hidden state ``(batch, tokens, width)`` of a layer, at least float32. Raises RequestError where absent."""
        return at_least_float32(_get(self.hidden_states, layer, "hidden state"))

    def get_input_gradients(self) -> Tensor:
        """Gradients ``(batch, tokens, width)``, at least float32. Raises RequestError where there are none."""
        if self.input_gradients is None:
            raise RequestError("a loss needs the gradient of a logit by the embeddings, and the outputs hold none")
        return at_least_float32(self.input_gradients)

    def get_attention(self, layer: int) -> tuple[Tensor, ...]:
        """What a layer's attention comes from: queries and keys, or the probabilities of a model of its own kind.

        Shapes: each ``(batch, heads, tokens, _)``.
        Raises:
            RequestError: there is neither.
        """
        if layer in self.queries and layer in self.keys:
            return self.queries[layer], self.keys[layer]
        if layer in self.attentions:
            return (self.attentions[layer],)
        raise RequestError(
            f"a loss needs the attention of layer {layer}; the outputs hold layers "
            f"{sorted({*self.queries, *self.attentions})}"
        )

    def get_projected(self, what: Literal["queries", "keys", "values"], layer: int) -> Tensor:
        """Queries, keys or values ``(batch, heads, tokens, head_dim)`` of a layer, as they were captured.

        Raises:
            RequestError: there are none.
        """
        tensors: Mapping[int, Tensor] = {"queries": self.queries, "keys": self.keys, "values": self.values}[what]
        if layer in self.attentions and layer not in tensors:
            raise RequestError(
                f"the {what} of layer {layer} cannot be had from this model, whose attention is its own (as "
                "DeBERTa's); use the loss 'attention_probabilities' instead"
            )
        return _get(tensors, layer, what)

    def of_attention(self, layer: int, part: slice, tensors: Sequence[Tensor]) -> "Outputs":
        """A layer's attention, for a part of the examples.

        Args:
            layer: which layer.
            part: of the examples.
            tensors: what `get_attention` gives, for these examples.
        """
        own = len(tensors) == 1
        allowed = self.allowed.get(layer)
        if allowed is not None and len(allowed) > 1:
            allowed = allowed[part]
        return Outputs(
            queries={} if own else {layer: tensors[0]},
            keys={} if own else {layer: tensors[1]},
            attentions={layer: tensors[0]} if own else {},
            scales=self.scales,
            allowed={} if allowed is None else {layer: allowed},
            attention_mask=None if self.attention_mask is None else self.attention_mask[part],
            weights=self.weights_of(part),
        )

    def weights_of(self, part: slice) -> Tensor | None:
        """The weights of a part of the examples; None where there are none."""
        return None if self.weights is None else self.weights[part]

    def get_attention_scores(self, layer: int) -> Tensor:
        """Attention scores ``q k^T * scale``, ``(batch, heads, tokens, tokens)``, before mask and softmax.

        Raises:
            RequestError: no queries and keys of that layer (models with an attention of their own give only
                probabilities: use the loss ``attention_probabilities``).
        """
        if layer in self.attentions and layer not in self.queries:
            raise RequestError(
                f"attention scores of layer {layer} cannot be had from this model, whose attention is its own "
                "(as DeBERTa's); use the loss 'attention_probabilities' instead"
            )
        query = at_least_float32(_get(self.queries, layer, "queries"))
        key = at_least_float32(_get(self.keys, layer, "keys"))
        scale = self.scales.get(layer, float(query.shape[-1]) ** -0.5)
        scores: Tensor = (query * scale) @ key.transpose(-1, -2)  # not the product scaled: that is the larger tensor
        return scores

    def get_log_attention(self, layer: int, keys_allowed: Tensor) -> Tensor:
        """Log of the attention probabilities over the allowed keys, ``(batch, heads, tokens, tokens)``.

        Computed from queries and keys before dropout, renormalised over ``keys_allowed``; an excluded key gets a very
        negative finite number, so that no product with 0 is NaN.

        Args:
            layer: which layer.
            keys_allowed: bool, broadcasts to the result.
        """
        lowest = torch.finfo(torch.float32).min / 4
        if layer in self.attentions and layer not in self.queries:
            # 1e-30 keeps the log finite where a probability underflowed; float32 holds 1e-38.
            scores = at_least_float32(self.attentions[layer]).clamp_min(1e-30).log()
        else:
            scores = self.get_attention_scores(layer)
        return torch.log_softmax(scores.masked_fill(~keys_allowed, lowest), dim=-1)

    def detached(self) -> "Outputs":
        """The same numbers, cut off from what they were computed from."""
        alone: dict[str, Any] = {"logits": self.logits, "input_gradients": self.input_gradients}
        layers = ("hidden_states", "queries", "keys", "values", "attentions")
        changed: dict[str, Any] = {
            **{name: tensor.detach() for name, tensor in alone.items() if tensor is not None},
            **{name: {key: each.detach() for key, each in getattr(self, name).items()} for name in layers},
            "members": {name: each.detached() for name, each in self.members.items()},
        }
        return dataclasses.replace(self, **changed)

    def token_mask(self, like: Tensor) -> Tensor:
        """``(batch, tokens)`` bool, True for real tokens; all True without a mask. ``like``: batch and device."""
        if self.attention_mask is None:
            tokens = like.shape[-2]
            return torch.ones(like.shape[0], tokens, dtype=torch.bool, device=like.device)
        return self.attention_mask.to(like.device).bool()


# What a teacher says of a batch: one answer; as a tuple several, or at this step none.
Answers = Outputs | tuple[Outputs, ...]


def at_least_float32(tensor: Tensor) -> Tensor:
    """``tensor`` in float32, or as it is when it is more precise.

    Half precision is no place for a softmax or a squared distance: fp16 rounds 1e-8 to 0 and bf16 keeps 3 digits.
    """
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _get(tensors: Mapping[int, Tensor], layer: int, what: str) -> Tensor:
    if layer not in tensors:
        raise RequestError(f"a loss needs the {what} of layer {layer}; the outputs hold layers {sorted(tensors)}")
    return tensors[layer]
