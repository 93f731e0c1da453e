"""What a model's folder must be before it is used: files, config, weights and tokenizer that fit each other.

The functions here only look and raise; loading is in `distilnlp.models.loading`.
"""

import inspect
import json
import math
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import (
    CONFIG_MAPPING,
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_MASKED_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from distilnlp.errors import RequestError
from distilnlp.exported_file import exported_files
from distilnlp.models.encoder import layer_prefix
from distilnlp.models.heads import head_logits
from distilnlp.models.word_models import WORD_MODELS
from distilnlp.problems import problem_of_config

__all__ = [
    "CONFIG_EXITS",
    "Shapes",
    "check_answer_shapes",
    "check_answers",
    "check_files",
    "check_finite_weights",
    "check_fits",
    "check_shapes",
    "check_sizes",
    "check_token_types",
    "check_tokenizer_alone",
    "exported_instead",
    "in_layers",
    "is_body",
    "is_exported",
    "label_count",
    "one_line",
    "pickled",
    "read_config",
    "read_json",
    "read_json_list",
    "read_shapes",
    "token_limit",
    "training_limit",
    "weight_files",
]

Shapes = dict[str, tuple[int, ...]]  # of the tensors in files of weights, by name

DEFAULT_LENGTH = 512  # tokens, where neither the caller nor the model sets a limit
# Models whose positions are counted from behind that of the padding, so that they take fewer tokens than they have.
COUNTED_FROM_PADDING = (
    "camembert",
    "data2vec-text",
    "esm",
    "ibert",
    "longformer",
    "luke",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
)

CONFIG_BYTES = 4 * 2**20  # those of published encoders have a few kilobytes; one with 10,000 labels, one megabyte
MOST_LAYERS, MOST_LABELS = 1000, 100_000
LARGEST = 2**31 - 1
CONFIG_EXITS = "distilnlp_exits"  # of the heads beside a model, which are no part of it (see `distilnlp.models.exits`)
# Keys of a config that choose code, kernels or files, or what a model returns: none of them is the folder's to decide.
NOT_THE_FOLDERS = {
    CONFIG_EXITS,
    "_attn_implementation",
    "_name_or_path",
    "attn_implementation",
    "auto_map",
    "chunk_size_feed_forward",
    "configuration_files",
    "dtype",
    "experts_implementation",
    "name_or_path",
    "output_attentions",
    "output_hidden_states",
    "per_layer_config",
    "return_dict",
    "torch_dtype",
    "transformers_weights",
    "use_kernels",
}
DECODING = ("add_cross_attention", "is_decoder", "is_encoder_decoder")
SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
DTYPES = {"auto", "bfloat16", "float16", "float32", "float64"}
FLOATING = {"BF16", "F16", "F32", "F64"}  # as safetensors spells them
PROBE = ("A plain text, 12 times.", "Ωδή, 漢字 and \U0001f600.")  # of words that a vocabulary knows and others


# ---- files ----


def check_files(folder: Path) -> None:
    """Refuse a folder in which something other than a file or a folder stands: to read a pipe is to wait for ever."""
    for each in sorted(folder.iterdir()):
        if not each.is_file() and not each.is_dir():
            raise RequestError(f"{each} is neither a file nor a folder (a pipe, a device, a broken link): remove it")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a small JSON file.

    Raises:
        RequestError: it cannot be read, or is no object.
    """
    found = _read_json(path)
    if not isinstance(found, dict):
        raise RequestError(f"{path} is damaged (it holds a {type(found).__name__}, not an object): copy it again")
    return found


def read_json_list(path: Path) -> list[Any]:
    """The list in a small JSON file. Raises RequestError where it cannot be read, or is none."""
    found = _read_json(path)
    if not isinstance(found, list):
        raise RequestError(f"{path} is damaged (it holds a {type(found).__name__}, not a list): copy it again")
    return found


def _read_json(path: Path) -> Any:
    try:
        if path.stat().st_size > CONFIG_BYTES:
            raise RequestError(f"{path} has {path.stat().st_size} bytes, and at most {CONFIG_BYTES} are a config")
        return json.loads(path.read_text("utf-8"))
    except RecursionError as error:
        raise RequestError(f"{path} is damaged (it is nested too deep): copy or save it again") from error
    except (OSError, ValueError) as error:
        if isinstance(error, RequestError):
            raise
        raise RequestError(f"{path} is damaged ({one_line(error)}): copy or save it again") from error


def is_exported(folder: Path) -> bool:
    """Whether a folder holds an exported model and no weights of torch."""
    weights = ("model.safetensors", "model.safetensors.index.json", "adapter_config.json")
    return bool(exported_files(folder)) and not any((folder / name).is_file() for name in weights)


def weight_files(folder: Path, name: str) -> list[Path]:
    """The files of weights of a folder: one, or those that its index names.

    Raises:
        RequestError: there are none, or only pickles; an index that names pickles, missing files or files elsewhere.
    """
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if not index.is_file():
        if is_exported(folder):
            raise exported_instead(name)
        if any(folder.glob("pytorch_model*.bin")):
            raise RequestError(pickled(name, "pytorch_model.bin"))
        raise RequestError(f"{name} has no model.safetensors: copy the folder again, or save the model again")
    named = read_json(index).get("weight_map")
    if not isinstance(named, dict) or not named:
        raise RequestError(f"{index} is damaged (it has no weight_map): copy or save the model again")
    files = sorted({str(file) for file in named.values()})
    for file in files:
        if not file.endswith(".safetensors") or re.search(r"[/\\\0]", file):
            raise RequestError(
                f"{index} names {file!r}, and only .safetensors files beside it are read: save it again"
            )
        if not (folder / file).is_file():
            raise RequestError(f"{folder} lacks {file}, which its index names: copy the folder again")
    return [folder / file for file in files]


def exported_instead(name: str | Path) -> RequestError:
    """What is said of an exported model where weights are needed."""
    return RequestError(
        f"{name} is an exported model, which answers texts and cannot be trained or changed: give the model "
        "that it was made of"
    )


def pickled(name: str, file: str) -> str:
    """What is said of weights that are only there as a pickle."""
    return (
        f"{name} has its weights in {file} only, a pickle, which can run code and is not loaded: "
        f"`distilnlp convert {name} OUTPUT` saves them as safetensors, then use OUTPUT"
    )


def read_shapes(files: Iterable[Path]) -> Shapes:
    """The shapes of all tensors in files of weights; reads their headers alone.

    Raises:
        RequestError: a file is damaged, or holds weights that are not plain floating-point numbers.
    """
    shapes: Shapes = {}
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                for key in file.keys():  # noqa: SIM118 - no mapping
                    part = file.get_slice(key)
                    shapes[key] = tuple(part.get_shape())
                    if part.get_dtype() not in FLOATING and key.endswith((".weight", ".bias")):
                        raise RequestError(
                            f"{path} holds {key} as {part.get_dtype()}: weights of {', '.join(sorted(FLOATING))} are "
                            "needed, save the model again without quantisation"
                        )
        except (SafetensorError, OSError, ValueError) as error:
            if isinstance(error, RequestError):
                raise
            raise RequestError(f"{path} is damaged ({one_line(error)}): copy or train it again") from error
    return shapes


# ---- config ----


def read_config(folder: Path, name: str) -> PreTrainedConfig:
    """The config of a folder, checked; what may choose code or files is left out of it.

    Args:
        folder: with a ``config.json``.
        name: of the model, as the config's own name.
    Raises:
        RequestError: no config of an encoder that can be made, with the field that is wrong where that is known.
    """
    path = folder / "config.json"
    raw = read_json(path)
    config_class = CONFIG_MAPPING[_model_type(path, raw)]
    _check_raw(path, raw)
    wrong = [key for key in raw if callable(getattr(config_class, key, None)) or key.startswith("__")]
    if wrong:
        raise RequestError(f"{path} has a key {wrong[0]!r}, which is no field of a config: remove it")
    fields = {key: value for key, value in raw.items() if key not in NOT_THE_FOLDERS}
    try:
        config: PreTrainedConfig = config_class(**fields)
    except Exception as error:  # each kind of config has checks of its own, which raise what they like
        raise RequestError(f"{path} cannot be used ({one_line(error)}): correct or copy it again") from error
    config.name_or_path = name
    label2id: dict[str, int] = {str(label): int(place) for place, label in (config.id2label or {}).items()}
    config.label2id = label2id
    check_sizes(config, str(path))
    return config


def _model_type(path: Path, raw: Mapping[str, Any]) -> str:
    kind = raw.get("model_type")
    if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
        code = (
            " (its custom code, auto_map, is never run; trust_remote_code is always off)" if "auto_map" in raw else ""
        )
        said = "no model_type" if kind is None else f"the model_type {kind!r:.60}, which transformers does not know"
        raise RequestError(f"{path} has {said}{code}: an encoder such as bert is needed")
    made = CONFIG_MAPPING[kind]
    if getattr(made, "is_encoder_decoder", False):
        raise RequestError(f"{path} is of an encoder with a decoder ({kind}): an encoder such as bert is needed")
    masked = made in MODEL_FOR_MASKED_LM_MAPPING
    if (made in MODEL_FOR_CAUSAL_LM_MAPPING and not masked) or any(raw.get(key) for key in DECODING):
        raise RequestError(f"{path} is of a decoder ({kind}): an encoder such as bert is needed")
    if made not in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING:
        raise RequestError(f"{path} is of a {kind}, which classifies no texts: an encoder such as bert is needed")
    return kind


def _check_raw(path: Path, raw: Mapping[str, Any]) -> None:
    """The fields that transformers reads before it has looked at them."""
    for key in ("dtype", "torch_dtype"):
        value = raw.get(key)
        if value is not None and str(value).removeprefix("torch.") not in DTYPES:
            raise RequestError(f"{path} has {key} {value!r:.60}: one of {', '.join(sorted(DTYPES))} is needed")
    if raw.get("quantization_config") is not None:
        raise RequestError(f"{path} is of a quantised model: use the model that it was made from")
    names, count = raw.get("id2label"), raw.get("num_labels")
    if names is not None and not _is_label_table(names):
        raise RequestError(
            f"{path} has id2label {str(names)[:60]}: an object is needed that names each class 0, 1, ... once, "
            'such as {"0": "no", "1": "yes"}'
        )
    if names is not None and count is not None and count != len(names):
        raise RequestError(f"{path} has num_labels {count!r:.20} and {len(names)} names in id2label: correct one")
    if count is not None and (isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MOST_LABELS):
        raise RequestError(f"{path} has num_labels {count!r:.20}: a whole number from 1 to {MOST_LABELS} is needed")


def _is_label_table(names: object) -> bool:
    return (
        isinstance(names, dict)
        and bool(names)
        and {str(key) for key in names} == {str(place) for place in range(len(names))}
        and all(isinstance(name, str | int | float) for name in names.values())
    )


def check_sizes(config: PreTrainedConfig, path: str) -> None:
    """Refuse sizes that no model can have.

    Args:
        config: made of the file.
        path: of the file, for messages.
    Raises:
        RequestError: names field and value.
    """

    def size(name: str) -> int | None:
        value = getattr(config, name, None)
        if value is None:
            return None
        most = MOST_LAYERS if name == "num_hidden_layers" else LARGEST
        least = 0 if config.model_type in WORD_MODELS and name in ("num_hidden_layers", "num_attention_heads") else 1
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise RequestError(f"{path} has {name} {value!r:.40}: a whole number from {least} to {most} is needed")
        return value

    hidden, _, heads, _, vocabulary = (size(name) for name in SIZES)
    if hidden and heads and hidden % heads and not hasattr(config, "d_head"):
        raise RequestError(f"{path} has hidden_size {hidden} and {heads} attention heads: one must divide the other")
    padding = getattr(config, "pad_token_id", None)
    if padding is not None and vocabulary and not (isinstance(padding, int) and 0 <= padding < vocabulary):
        raise RequestError(f"{path} has pad_token_id {padding!r:.40}: one of 0..{vocabulary - 1} is needed, or null")
    try:
        problem_of_config(config)
    except RequestError as error:
        raise RequestError(f"{path}: {error}") from error


# ---- weights ----


def is_body(model: PreTrainedModel, key: str) -> bool:
    """Whether a weight of a classifier is of its encoder; the pooler is the head's."""
    return key.startswith(f"{model.base_model_prefix}.") and ".pooler." not in key


def in_layers(model: PreTrainedModel, key: str) -> bool:
    """Whether the name of a weight is that of one in the model's stack of layers; tables of numbers are none."""
    try:
        stack = layer_prefix(model)
    except RequestError:
        return False
    prefix = f"{model.base_model_prefix}."
    inside = key.removeprefix(prefix).startswith(f"{stack.removeprefix(prefix)}.")
    return inside and not key.endswith((".inv_freq", ".masked_bias", ".position_ids"))


def check_shapes(sketch: PreTrainedModel, found: Shapes, name: str) -> list[str]:
    """Compare the model that a config describes with what is in its files of weights.

    Args:
        sketch: a classifier of that config, without weights (on the meta device).
        found: the shapes in the files.
        name: for messages.
    Returns:
        the head's weights that are of another shape in the files: those of other labels.
    Raises:
        RequestError: sizes of the body that are not those of the config.
    """
    prefix = f"{sketch.base_model_prefix}."
    other = []
    for key, tensor in sketch.state_dict().items():
        spellings = {key, key.removeprefix(prefix), key.replace("LayerNorm.weight", "LayerNorm.gamma")}
        shape = next((found[spelling] for spelling in spellings if spelling in found), None)
        if shape is None or shape == tuple(tensor.shape):
            continue
        if is_body(sketch, key):
            raise RequestError(
                f"{name} has {key} of shape {list(shape)}, and its config makes it {list(tensor.shape)}: config.json "
                "and weights are not of the same model, copy both again"
            )
        other.append(key)
    return other


def label_count(sketch: PreTrainedModel, found: Shapes) -> int | None:
    """How many labels the head in files of weights has; None where they hold no head."""
    rows = [
        found[key][0]
        for key, tensor in sketch.state_dict().items()
        if not is_body(sketch, key) and tensor.shape[0] == sketch.config.num_labels and key in found and found[key]
        if found[key][1:] == tuple(tensor.shape[1:])
    ]
    return rows[-1] if rows else None


def check_finite_weights(model: nn.Module, name: str) -> None:
    """Refuse weights that are not finite numbers; the sum tells, so that each is read once."""
    for key, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not tensor.sum().isfinite() and not tensor.isfinite().all():
            bad = int((~tensor.isfinite()).sum())
            raise RequestError(
                f"{name} has {bad} of {tensor.numel()} numbers in {key} that are not finite (NaN or Inf): the model "
                "has diverged or its file is damaged, train or copy it again"
            )


def check_answers(model: PreTrainedModel, name: str) -> None:
    """Let a model read two texts of a few tokens; what fails there can be no text's fault.

    Raises:
        RequestError: it cannot, or does not answer with as many finite numbers as it has labels.
    """
    read = {*inspect.signature(model.forward).parameters} - {"token_type_ids"}  # which all models can do without
    with torch.no_grad():
        check_answer_shapes(lambda batch: head_logits(model(**batch)), model.config, read, name)


def check_answer_shapes(
    answer: Callable[[dict[str, Tensor]], Tensor], config: PreTrainedConfig, columns: Container[str], name: str
) -> None:
    """As `check_answers`, of whatever answers a batch.

    Args:
        answer: from a batch to logits.
        config: of the model.
        columns: which inputs it reads.
        name: for messages.
    Raises:
        RequestError: as `check_answers`.
    """
    unread = {config.pad_token_id, *(config.to_dict().get("special_token_ids") or ())}
    token = next((each for each in range(getattr(config, "vocab_size", None) or 1) if each not in unread), 0)
    limit = _positions(config)
    if limit is not None and limit < 1:
        raise RequestError(f"{name} has positions for {limit} tokens (max_position_embeddings): copy its config again")
    ids = torch.full((2, min(4, limit or 4)), token)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
    try:
        logits = answer({key: value for key, value in batch.items() if key in columns})
        shape, finite = tuple(logits.shape), bool(logits.isfinite().all())
    except Exception as error:  # whatever a forward pass stumbles over
        raise RequestError(
            f"{name} cannot read a text ({one_line(error)}): its config.json does not fit its weights, copy both again"
        ) from error
    problem = problem_of_config(config)
    size = problem.output_size(config)
    if shape != ((2, size) if problem.rows in ("text", "list") else (*ids.shape, size)):
        raise RequestError(f"{name} answers with shape {list(shape)} to 2 texts, and has {size} labels")
    if not finite:
        raise RequestError(f"{name} answers with numbers that are not finite: train or copy it again")
    if problem.vectors and not logits.any(dim=-1).all():
        raise RequestError(f"{name} gives vectors of zeros, which have no direction: train or copy it again")


# ---- tokenizer ----


def check_tokenizer_alone(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Refuse a tokenizer that cannot make a batch of texts.

    Raises:
        RequestError: no vocabulary, no padding token, no limit that is a number, none of the special tokens that it
            has in front of a text; or it breaks.
    """
    # Without its files transformers makes one that knows the special tokens alone
    if len(tokenizer) <= len(set(tokenizer.all_special_tokens)):
        raise RequestError(f"the tokenizer of {name} has no vocabulary: its folder lacks tokenizer.json")
    if tokenizer.pad_token_id is None:
        raise RequestError(
            f"the tokenizer of {name} has no padding token: set its pad_token (in tokenizer_config.json) to one that "
            "the model knows"
        )
    limit: object = tokenizer.model_max_length
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not (limit >= 1 and math.isfinite(limit)):
        raise RequestError(f"the tokenizer of {name} has model_max_length {limit!r:.40}: a number from 1 is needed")
    special = tokenizer.num_special_tokens_to_add(pair=True)
    if limit <= special:
        raise RequestError(f"the tokenizer of {name} has model_max_length {limit}: {special} are special tokens alone")
    encoded = tokenizer(list(PROBE), padding=True, truncation=True, max_length=int(min(limit, 64)))
    first, second = encoded["input_ids"]
    if len(first) != len(second) or not all(isinstance(each, int) and each >= 0 for each in first + second):
        raise RequestError(f"the tokenizer of {name} does not pad texts to one length: save it again")
    if tokenizer.cls_token_id is not None and tokenizer.cls_token_id not in first:
        raise RequestError(
            f"the tokenizer of {name} does not put {tokenizer.cls_token} around a text, which the head reads: its "
            "tokenizer.json lacks the post-processor, save it again"
        )


def check_fits(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, *, pair: bool = False) -> None:
    """Refuse a tokenizer with tokens that a model has no embedding for. More embeddings than tokens are fine.

    Args:
        config: of the model.
        tokenizer: that reads its texts.
        pair: whether it reads pairs of texts.
    Raises:
        RequestError: says which token, and what to do.
    """
    fields = config.to_dict()
    known = fields.get("vocab_size")
    if not isinstance(known, int):
        return
    token, highest = max(tokenizer.get_vocab().items(), key=lambda item: item[1])
    if highest >= known:
        raise RequestError(
            f"the tokenizer has the token {token!r} with id {highest} and the model knows {known} tokens, counted "
            "from 0: after add_tokens call model.resize_token_embeddings(len(tokenizer)) and save both; or, if it is "
            "another model's tokenizer, take the one of the model's own folder"
        )
    check_token_types(config, tokenizer(*([["a"], ["a"]] if pair else [["a"]]), return_tensors="pt"))


def check_token_types(config: PreTrainedConfig, batch: Mapping[str, Any]) -> None:
    """Refuse a batch that tells its texts apart by more token types than a model has embeddings for."""
    types = getattr(config, "type_vocab_size", None)
    if "token_type_ids" not in batch or not isinstance(types, int) or types < 1:
        return
    most = int(batch["token_type_ids"].max())
    if most >= types:
        raise RequestError(
            f"the tokenizer numbers the texts of a pair up to {most} and the model knows {types} token types, counted "
            "from 0: give single texts, or take the tokenizer of the model's own folder"
        )


# ---- lengths ----


def token_limit(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, max_length: int | None = None) -> int:
    """How many tokens a text may have: no more than model and tokenizer take, at most 512 where nothing is said.

    Args:
        config: of the model, for the number of its positions.
        tokenizer: for its own limit; some have none.
        max_length: what the user says.
    """
    asked = DEFAULT_LENGTH if max_length is None else max_length
    positions = _positions(config)
    sentence = config.to_dict().get("sentence_modules") or {}
    limits = [int(tokenizer.model_max_length), positions, sentence.get("max_tokens")]
    return min(asked, *(limit for limit in limits if limit is not None))


def training_limit(
    configs: Sequence[PreTrainedConfig], tokenizer: PreTrainedTokenizerBase, max_length: int | None
) -> int:
    """As `token_limit`, of all models that read the same tokens; asked for more, it is an error.

    Args:
        configs: of the student and, where there is one, its teacher.
        tokenizer: of both.
        max_length: what the user says.
    Raises:
        RequestError: ``max_length`` is more than one of them takes; at the key ``max_length``.
    """
    limit = min([token_limit(config, tokenizer, max_length) for config in configs], default=max_length)
    if limit is None:
        return int(min(DEFAULT_LENGTH, tokenizer.model_max_length))
    if max_length is not None and limit < max_length:
        raise RequestError(
            f"max_length is {max_length}, but model and tokenizer take {limit} tokens at most: "
            f"give max_length={limit} or less",
            key=["max_length"],
        )
    return limit


def _positions(config: PreTrainedConfig) -> int | None:
    """How many tokens a model has positions for; None where it counts none, or counts distances alone."""
    fields = config.to_dict()
    positions = fields.get("max_position_embeddings")
    if not isinstance(positions, int) or positions <= 0:
        return None
    return positions - (int(config.pad_token_id or 0) + 1 if config.model_type in COUNTED_FROM_PADDING else 0)


def one_line(error: BaseException) -> str:
    """What a library says, in one line of at most 300 letters."""
    reason = " ".join(str(error).split()) or type(error).__name__
    return reason if len(reason) <= 300 else f"{reason[:300]}..."
