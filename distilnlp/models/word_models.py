"""Two small models of a table of embeddings: the mean of its rows (static), and bidirectional LSTM layers over them.

Importing this registers both with transformers, so that its Auto classes make and load them.

A static model knows no order of the words, and a text costs it a look-up. Its file holds the table under the name that
the module StaticEmbedding of sentence-transformers reads.
"""

from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, SequenceClassifierOutput

__all__ = [
    "WORD_MODELS",
    "BiLstmConfig",
    "BiLstmForSequenceClassification",
    "BiLstmModel",
    "StaticConfig",
    "StaticForSequenceClassification",
    "StaticModel",
]


class StaticConfig(PreTrainedConfig):
    """Sizes of a static model.

    Args:
        vocab_size: tokens, the rows of the table.
        hidden_size: numbers of a row.
        classifier_size: units of the layer between a text's vector and its logits.
        classifier_dropout: share of the text's vector, and of these units, that is dropped in training.
        special_token_ids: tokens that are not read: those around a text, and padding.
    """

    model_type = "static"

    vocab_size: int = 30522
    hidden_size: int = 256
    classifier_size: int = 256
    classifier_dropout: float | int = 0.1
    special_token_ids: list[int] | None = None
    pad_token_id: int | None = 0
    initializer_range: float = 0.02
    num_hidden_layers: int = 0
    num_attention_heads: int = 0


class BiLstmConfig(PreTrainedConfig):
    """Sizes of a model of bidirectional LSTM layers.

    Args:
        vocab_size: tokens, the rows of the table.
        embedding_size: numbers of a row.
        hidden_size: of a token's state, half of it of each direction; even.
        num_hidden_layers: LSTM layers.
        classifier_size: units of the layer between a text's vector and its logits.
        classifier_dropout: share of the embeddings, the text's vector, and these units, that is dropped in training.
    """

    model_type = "bilstm"

    vocab_size: int = 30522
    embedding_size: int = 256
    hidden_size: int = 300
    num_hidden_layers: int = 1
    classifier_size: int = 256
    classifier_dropout: float | int = 0.1
    pad_token_id: int | None = 0
    initializer_range: float = 0.02
    num_attention_heads: int = 0


class _WordModel(PreTrainedModel):
    """What both have in common."""

    def get_input_embeddings(self) -> nn.Module:
        """The table."""
        return self.base_model.get_submodule("embedding")


def _real(input_ids: Tensor, attention_mask: Tensor | None) -> Tensor:
    """Which tokens are no padding, ``(batch, tokens)``."""
    return torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()


class StaticModel(_WordModel):
    """A row of a table for each token, whatever stands beside it.

    Shapes:
        input_ids, attention_mask: ``(batch, tokens)``; gives ``last_hidden_state``: ``(batch, tokens, hidden)``, 0 for
        special tokens and padding, and scaled so that the mean over all tokens that are no padding is the mean of
        the rows of those that are read.
    """

    config_class = StaticConfig
    base_model_prefix = "static"

    def __init__(self, config: StaticConfig) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList()  # none: a stack of its height
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: Any) -> BaseModelOutput:
        """The rows of a batch. Shapes: as of the class."""
        there = _real(input_ids, attention_mask)
        read = there
        for special in self.config.special_token_ids or ():  # a few; no buffer, which no file would hold
            read = read & (input_ids != special)
        count = read.sum(dim=1, keepdim=True).clamp_min(1)  # (batch, 1)
        weights = read * (there.sum(dim=1, keepdim=True) / count)
        rows = self.embedding(input_ids)
        return BaseModelOutput(last_hidden_state=rows * weights.to(rows.dtype)[..., None])


class _BiLstmLayer(nn.Module):
    """One LSTM in both directions over tokens of which some are padding."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, hidden // 2, batch_first=True, bidirectional=True)

    def forward(self, hidden_states: Tensor, lengths: Tensor) -> Tensor:
        """``(batch, tokens, width)`` to ``(batch, tokens, hidden)``; 0 behind the end of a text."""
        packed = pack_padded_sequence(hidden_states, lengths, batch_first=True, enforce_sorted=False)
        found: Tensor
        found, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=hidden_states.shape[1])
        return found


class BiLstmModel(_WordModel):
    """Bidirectional LSTM layers over a table of embeddings.

    Shapes:
        input_ids, attention_mask: ``(batch, tokens)``, padding on either side; gives ``last_hidden_state``:
        ``(batch, tokens, hidden)``, the state from the left and that from the right; 0 for padding.
    """

    config_class = BiLstmConfig
    base_model_prefix = "bilstm"

    def __init__(self, config: BiLstmConfig) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.embedding_size)
        self.dropout = nn.Dropout(config.classifier_dropout)
        widths = [config.embedding_size, *[config.hidden_size] * (config.num_hidden_layers - 1)]
        self.layers = nn.ModuleList([_BiLstmLayer(width, config.hidden_size) for width in widths])
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None, **kwargs: Any) -> BaseModelOutput:
        """The states of a batch. Shapes: as of the class."""
        real = _real(input_ids, attention_mask)
        lengths = real.sum(dim=1).clamp_min(1)
        # A packed sequence begins at its first place: padding in front is moved behind, and back again.
        order = (~real).int().argsort(dim=1, stable=True)  # (batch, tokens)
        states = self.dropout(self.embedding(input_ids.gather(1, order)))
        for layer in self.layers:
            states = layer(states, lengths.cpu())
        places = order.argsort(dim=1)[..., None].expand(-1, -1, states.shape[-1])
        return BaseModelOutput(last_hidden_state=states.gather(1, places))


class _Classifier(nn.Module):
    """The head of both: one layer of units between a text's vector and its logits."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.dense = nn.Linear(config.hidden_size, config.classifier_size)
        self.out_proj = nn.Linear(config.classifier_size, config.num_labels)

    def forward(self, vectors: Tensor) -> Tensor:
        """``(batch, hidden)`` to ``(batch, labels)``."""
        units = torch.relu(self.dense(self.dropout(vectors)))
        logits: Tensor = self.out_proj(self.dropout(units))
        return logits


class _ForSequenceClassification(_WordModel):
    """A head over one vector a text."""

    body: ClassVar[type[PreTrainedModel]]

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__(config)
        self.num_labels = config.num_labels  # as every classifier of transformers has it
        setattr(self, self.base_model_prefix, self.body(config))
        self.classifier = _Classifier(config)
        self.post_init()  # type: ignore[no-untyped-call]

    def vectors(self, states: Tensor, real: Tensor) -> Tensor:
        """What the head reads of the states of a batch, ``(batch, hidden)``."""
        raise NotImplementedError

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """The logits of a batch.

        Shapes:
            input_ids, attention_mask: ``(batch, tokens)``; labels: as of every classifier of transformers; gives
            ``logits`` ``(batch, labels)``.
        """
        states = self.base_model(input_ids, attention_mask).last_hidden_state
        logits = self.classifier(self.vectors(states, _real(input_ids, attention_mask)))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config)
        return SequenceClassifierOutput(loss=loss, logits=logits)


class StaticForSequenceClassification(_ForSequenceClassification):
    """A static model with a head over the mean of a text's rows."""

    config_class = StaticConfig
    base_model_prefix = "static"
    body = StaticModel

    def vectors(self, states: Tensor, real: Tensor) -> Tensor:
        """The mean over all tokens that are no padding, by which the body has scaled."""
        mean: Tensor = states.sum(dim=1) / real.sum(dim=1, keepdim=True).clamp_min(1)
        return mean


class BiLstmForSequenceClassification(_ForSequenceClassification):
    """LSTM layers with a head over the last state of each direction."""

    config_class = BiLstmConfig
    base_model_prefix = "bilstm"
    body = BiLstmModel

    def vectors(self, states: Tensor, real: Tensor) -> Tensor:
        """From the left that at the last token, from the right that at the first one."""
        half = states.shape[-1] // 2
        first = real.int().argmax(dim=1)
        last = real.shape[1] - 1 - real.flip(1).int().argmax(dim=1)
        rows = torch.arange(len(states), device=states.device)
        return torch.cat([states[rows, last, :half], states[rows, first, half:]], dim=-1)


# By the name that a recipe gives them as an architecture, which is their model_type.
WORD_MODELS: dict[str, type[PreTrainedConfig]] = {"static": StaticConfig, "bilstm": BiLstmConfig}

for _config, _body, _head in (
    (StaticConfig, StaticModel, StaticForSequenceClassification),
    (BiLstmConfig, BiLstmModel, BiLstmForSequenceClassification),
):
    AutoConfig.register(_config.model_type, _config)
    AutoModel.register(_config, _body)
    AutoModelForSequenceClassification.register(_config, _head)
