"""Copies between architectures that compute the same layers under other names: BERT and its relatives.

The layers of BERT, RoBERTa, XLM-R, CamemBERT, ELECTRA (base size and up) and DistilBERT are one function, but for the
epsilon of DistilBERT's norms, which is 1e-12 always (1e-5 in RoBERTa's checkpoints). What differs around them:

- names, in DistilBERT (`common_name`, `field_name`);
- where positions start: RoBERTa and its like count from ``pad_token_id + 1``, the others from 0;
- token types, which DistilBERT lacks: the row of type 0, which every token of a single text has, is added to each
  position, so that the embeddings are BERT's for such texts; the segments of a pair are lost;
- the classifier between encoder and logits: dense, then tanh in BERT and the RoBERTas, gelu in ELECTRA, relu in
  DistilBERT. It is copied where the function is the same, and new (random) otherwise;
- the head for masked words is one function in all of them, and copied.

ALBERT's layers compute the same too, once it has a group for each of them (``num_hidden_groups``); its embeddings have
a linear map behind them (`low_rank`). So a student can be an ALBERT, but for the head for masked words, and no student
of another kind is made of one.
"""

import torch
from torch import Tensor
from transformers import AutoConfig, PreTrainedConfig

from distilnlp.errors import RequestError, unknown
from distilnlp.models.word_models import WORD_MODELS

__all__ = [
    "COPYABLE",
    "INTO",
    "common_name",
    "converted_config",
    "converted_weights",
    "field_name",
    "is_classifier",
]

HEAD_ACTIVATION = {
    "bert": "tanh",
    "roberta": "tanh",
    "xlm-roberta": "tanh",
    "camembert": "tanh",
    "electra": "gelu",
    "distilbert": "relu",
    "albert": "tanh",
}
INTO = tuple(HEAD_ACTIVATION)
COPYABLE = tuple(kind for kind in INTO if kind != "albert")
POSITIONS_AFTER_PADDING = ("roberta", "xlm-roberta", "camembert")

DISTILBERT_FIELDS = {
    "hidden_size": "dim",
    "num_hidden_layers": "n_layers",
    "num_attention_heads": "n_heads",
    "intermediate_size": "hidden_dim",
    "hidden_act": "activation",
    "hidden_dropout_prob": "dropout",
    "attention_probs_dropout_prob": "attention_dropout",
}
SHARED_FIELDS = (
    *DISTILBERT_FIELDS,
    "vocab_size",
    "max_position_embeddings",
    "type_vocab_size",
    "layer_norm_eps",
    "initializer_range",
    "classifier_dropout",
    "pad_token_id",
    "bos_token_id",
    "eos_token_id",
    "id2label",
    "label2id",
    "problem_type",
)

# (own name, common name), applied in turn; the common names are BERT's without prefix, with the classifier as `head`
# and the head for masked words as `words`.
ROBERTA_NAMES = (
    ("classifier.dense", "head.dense"),
    ("classifier.out_proj", "head.out"),
    ("lm_head.dense", "words.dense"),
    ("lm_head.layer_norm", "words.norm"),
    ("lm_head.bias", "words.out.bias"),
    ("lm_head.decoder", "words.out"),
    ("roberta.", ""),
)
NAMES: dict[str, tuple[tuple[str, str], ...]] = {
    "bert": (
        ("classifier", "head.out"),
        ("bert.pooler", "head"),
        ("cls.predictions.transform.dense", "words.dense"),
        ("cls.predictions.transform.LayerNorm", "words.norm"),
        ("cls.predictions.bias", "words.out.bias"),
        ("cls.predictions.decoder", "words.out"),
        ("bert.", ""),
    ),
    "roberta": ROBERTA_NAMES,
    "xlm-roberta": ROBERTA_NAMES,
    "camembert": ROBERTA_NAMES,
    "electra": (
        ("generator_predictions.dense", "words.dense"),
        ("generator_predictions.LayerNorm", "words.norm"),
        ("generator_lm_head", "words.out"),
        *ROBERTA_NAMES,
        ("electra.", ""),
    ),
    "distilbert": (
        ("pre_classifier", "head.dense"),
        ("classifier", "head.out"),
        ("vocab_transform", "words.dense"),
        ("vocab_layer_norm", "words.norm"),
        ("vocab_projector", "words.out"),
        ("distilbert.transformer", "encoder"),
        ("distilbert.", ""),
        ("q_lin", "self.query"),
        ("k_lin", "self.key"),
        ("v_lin", "self.value"),
        ("out_lin", "output.dense"),
        ("sa_layer_norm", "attention.output.LayerNorm"),
        ("ffn.lin1", "intermediate.dense"),
        ("ffn.lin2", "output.dense"),
        ("output_layer_norm", "output.LayerNorm"),
    ),
    "albert": (
        ("classifier", "head.out"),
        ("albert.pooler", "head.dense"),
        ("albert.", ""),
        ("encoder.albert_layer_groups", "encoder.layer"),
        (".albert_layers.0", ""),
        ("attention.LayerNorm", "attention.output.LayerNorm"),
        ("attention.dense", "attention.output.dense"),
        *((f"attention.{name}", f"attention.self.{name}") for name in ("query", "key", "value")),
        ("ffn_output", "output.dense"),
        (".ffn.", ".intermediate.dense."),
        ("full_layer_layer_norm", "output.LayerNorm"),
    ),
}
POSITIONS = "embeddings.position_embeddings.weight"
TOKEN_TYPES = "embeddings.token_type_embeddings.weight"


def common_name(name: str, kind: str) -> str:
    """The name that a weight called ``name`` in architecture ``kind`` has in all of `COPYABLE`."""
    for own, common in NAMES[kind]:
        name = name.replace(own, common)
    return name


def is_classifier(name: str) -> bool:
    """Whether the weight of this common name belongs to the classifier rather than to the encoder."""
    return name.startswith("head.")


def field_name(name: str, kind: str) -> str:
    """What the config of architecture ``kind`` calls the field that BERT's calls ``name``."""
    return DISTILBERT_FIELDS.get(name, name) if kind == "distilbert" else name


def converted_config(teacher: PreTrainedConfig, kind: str) -> PreTrainedConfig:
    """A config of architecture ``kind`` with the teacher's sizes, labels and special tokens.

    Raises:
        RequestError: no copy is possible between the two.
    """
    if kind not in INTO:
        raise unknown("architecture to copy into", kind, (*INTO, *WORD_MODELS))
    projected = teacher.model_type == "electra" and teacher.embedding_size != teacher.hidden_size
    if teacher.model_type not in COPYABLE or projected:
        reason = "its embeddings are projected to the layers' width" if projected else "its layers compute otherwise"
        raise RequestError(
            f"a {teacher.model_type} teacher cannot be copied into a {kind} student: {reason}; leave the architecture "
            f"out to get a {teacher.model_type} student, or name a {kind} checkpoint as the student"
        )
    known = teacher.to_dict()
    names = {field: field_name(field, teacher.model_type) for field in SHARED_FIELDS}
    fields = {field: known[name] for field, name in names.items() if name in known}
    fields["max_position_embeddings"] += _position_offset(kind, teacher) - _position_offset(
        teacher.model_type, teacher
    )
    if kind in ("electra", "albert"):
        fields["embedding_size"] = fields["hidden_size"]
    if kind == "albert":
        fields["classifier_dropout_prob"] = fields.pop("classifier_dropout", None)
        if fields["classifier_dropout_prob"] is None:
            fields["classifier_dropout_prob"] = fields["hidden_dropout_prob"]
    if teacher.model_type == "distilbert":
        fields |= {"type_vocab_size": 2, "layer_norm_eps": 1e-12}
    if kind == "distilbert":
        for absent in ("type_vocab_size", "layer_norm_eps", "classifier_dropout"):
            fields.pop(absent, None)
    return AutoConfig.for_model(kind, **{field_name(field, kind): value for field, value in fields.items()})


def converted_weights(
    weights: dict[str, Tensor], teacher: PreTrainedConfig, student: PreTrainedConfig
) -> dict[str, Tensor]:
    """The teacher's weights under their common names, made to mean in the student what they mean in the teacher.

    Args:
        weights: the teacher's ``state_dict``; it is not changed.
    """
    found = {common_name(name, teacher.model_type): weight for name, weight in weights.items()}
    positions = found[POSITIONS][_position_offset(teacher.model_type, teacher) :]  # (positions, hidden)
    if student.model_type == "distilbert" and TOKEN_TYPES in found:
        positions = positions + found[TOKEN_TYPES][0]
    if teacher.model_type == "distilbert":
        found[TOKEN_TYPES] = positions.new_zeros(student.type_vocab_size, positions.shape[1])
    unused = positions.new_zeros(_position_offset(student.model_type, student), positions.shape[1])
    found[POSITIONS] = torch.cat([unused, positions])
    if HEAD_ACTIVATION[teacher.model_type] != HEAD_ACTIVATION[student.model_type]:
        found = {name: weight for name, weight in found.items() if not is_classifier(name)}
    return found


def _position_offset(kind: str, config: PreTrainedConfig) -> int:
    """The first row of the position table that a token can have."""
    return config.pad_token_id + 1 if kind in POSITIONS_AFTER_PADDING else 0
