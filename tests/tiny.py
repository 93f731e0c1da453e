"""Tiny random models of every backbone, a tokenizer and a toy task: what the tests run on instead of downloads."""

import random
from collections.abc import Sequence

import torch
from datasets import ClassLabel, Dataset, Features, Value
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    BertTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

__all__ = [
    "BACKBONES",
    "CLASS_WORDS",
    "VOCAB",
    "byte_tokenizer",
    "piece_tokenizer",
    "tiny_model",
    "tiny_tokenizer",
    "toy_dataset",
]

CLASS_WORDS = (
    ("good", "great", "fine", "lovely", "superb"),
    ("bad", "poor", "awful", "dull", "weak"),
    ("blue", "green", "red", "yellow", "purple"),
    ("one", "two", "three", "four", "five"),
)
# fmt: off
FILLER = (
    "the", "a", "this", "that", "film", "book", "meal", "was", "is", "seems", "very",
    "quite", "and", "but", "on", "in", "of", "to", "it", "we", "they", "saw",
)
# fmt: on
VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *FILLER, *(word for words in CLASS_WORDS for word in words)]

BACKBONES = ("bert", "roberta", "xlm-roberta", "distilbert", "electra", "albert", "deberta-v2", "modernbert")

POSITIONS = 64
# What each kind needs beyond the shared sizes, chosen to be like its published checkpoints where that changes the code
# path: relative positions in DeBERTa, a window shorter than the texts in ModernBERT, a narrow embedding in ALBERT.
KIND_CONFIG: dict[str, dict[str, object]] = {
    "bert": {"type_vocab_size": 2},
    # Positions count from pad_token_id + 1, so one row more than in BERT holds texts of the same length.
    "roberta": {"type_vocab_size": 2, "max_position_embeddings": POSITIONS + 1},
    "xlm-roberta": {"type_vocab_size": 2, "max_position_embeddings": POSITIONS + 1},
    "distilbert": {},
    "electra": {"type_vocab_size": 2},
    "albert": {"type_vocab_size": 2, "embedding_size": 16},
    "deberta-v2": {
        "type_vocab_size": 0,
        "relative_attention": True,
        "pos_att_type": ["p2c", "c2p"],
        "position_buckets": 8,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "position_biased_input": False,
    },
    "modernbert": {"local_attention": 8},
}


def tiny_tokenizer() -> PreTrainedTokenizerBase:
    """A lower-case WordPiece tokenizer over `VOCAB`; words outside it become [UNK]."""
    # vocab_file= would read nothing and make every word [UNK], without an error.
    return BertTokenizer(vocab={word: index for index, word in enumerate(VOCAB)}, model_max_length=POSITIONS)


def piece_tokenizer() -> PreTrainedTokenizerBase:
    """Reads the same words as `tiny_tokenizer`, each of more than two letters in pieces of two."""
    parts = [
        f"{'##' * (place > 0)}{word[place : place + 2]}" for word in VOCAB[5:] for place in range(0, len(word), 2)
    ]
    words = [*VOCAB[:5], *dict.fromkeys(parts)]
    return BertTokenizer(vocab={word: index for index, word in enumerate(words)}, model_max_length=POSITIONS)


def byte_tokenizer() -> PreTrainedTokenizerBase:
    """A byte-level one that makes of a pair ``<s> a </s></s> b </s>``, as RoBERTa's does; it knows every text."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<pad>", "<s>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        [" ".join(FILLER)] * 3,
        trainers.BpeTrainer(special_tokens=special, initial_alphabet=alphabet, vocab_size=290, show_progress=False),
    )
    backend.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 1), add_prefix_space=False)
    names = {"pad_token": "<pad>", "bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>"}
    made = PreTrainedTokenizerFast(tokenizer_object=backend, **names)
    made.model_max_length = POSITIONS
    return made


def tiny_model(
    kind: str,
    *,
    layers: int = 2,
    hidden: int = 32,
    heads: int = 4,
    intermediate: int = 64,
    num_labels: int = 3,
    label_names: Sequence[str] | None = None,
    problem_type: str | None = None,
    seed: int = 0,
    **config: object,
) -> PreTrainedModel:
    """A random sequence classifier of one of `BACKBONES` for the ids of `tiny_tokenizer`, in eval mode.

    Args:
        label_names: the labels in order; they decide ``num_labels``. ``LABEL_0`` ... when None.
        seed: equal seeds give equal weights; torch's global random state is left as it was.
        config: further fields of the kind's config; they win over all others.
    """
    names = list(label_names) if label_names is not None else [f"LABEL_{index}" for index in range(num_labels)]
    size: dict[str, object] = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "hidden_dim" if kind == "distilbert" else "intermediate_size": intermediate,
        "max_position_embeddings": POSITIONS,
        "vocab_size": len(VOCAB),
    }
    if kind == "electra":
        size["embedding_size"] = hidden  # as in the published base and large models
    special = {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3, "cls_token_id": 2, "sep_token_id": 3}
    fields = {**size, **special, **KIND_CONFIG[kind], **config}
    model_config = AutoConfig.for_model(
        kind,
        id2label=dict(enumerate(names)),
        label2id={name: index for index, name in enumerate(names)},
        **fields,
    )
    # num_labels decides the problem type when it is unset, so a given one is set, and None is left to the model.
    model_config.problem_type = problem_type
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return AutoModelForSequenceClassification.from_config(model_config).eval()


def toy_dataset(n: int, seed: int, classes: int = 3, pair: bool = False) -> Dataset:
    """``n`` rows of ``text`` (and ``text_pair``) whose ``label`` is told by the class words in them: easy to learn."""
    rng = random.Random(seed)

    def text(label: int) -> str:
        words = rng.choices(FILLER, k=rng.randint(3, 9)) + rng.choices(CLASS_WORDS[label], k=2)
        rng.shuffle(words)
        return " ".join(words)

    labels = [rng.randrange(classes) for _ in range(n)]
    columns: dict[str, list[object]] = {"text": [text(label) for label in labels]}
    features = {"text": Value("string")}
    if pair:
        columns["text_pair"] = [text(label) for label in labels]
        features["text_pair"] = Value("string")
    columns["label"] = list(labels)
    names = [f"class_{index}" for index in range(classes)]
    return Dataset.from_dict(columns, features=Features({**features, "label": ClassLabel(names=names)}))
