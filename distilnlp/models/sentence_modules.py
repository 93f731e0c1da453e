"""How an encoder's tokens become one vector a text: what sentence-transformers keeps beside the encoder, as data.

``modules.json`` names the modules in their order; only those that hold no code of the folder's are read.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from distilnlp.errors import RequestError, unknown
from distilnlp.models.checks import one_line, read_json, read_json_list

__all__ = [
    "MODULES",
    "POOLINGS",
    "DenseSpec",
    "SentenceModules",
    "dense_folders",
    "dense_weights",
    "make_dense",
    "pool_tokens",
    "read_modules",
    "write_modules",
]

MODULES = "modules.json"
_ENCODER = "sentence_bert_config.json"
_PROMPTS = "config_sentence_transformers.json"
STATIC = "StaticEmbedding"  # the module in place of encoder and pooling

# What a Dense module has to read, as its config says it.
_OF_SENTENCE = re.compile("sentence_embedding")

# As sentence-transformers calls them, in the order in which it puts several side by side.
POOLINGS = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
_FLAGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# Named as they are in files; nothing else is looked up, so that no name of a file runs code.
ACTIVATIONS: dict[str, type[nn.Module]] = {
    f"torch.nn.modules.{module}.{kind.__name__}": kind
    for module, kind in (
        ("linear", nn.Identity),
        ("activation", nn.Tanh),
        ("activation", nn.ReLU),
        ("activation", nn.GELU),
        ("activation", nn.SiLU),
        ("activation", nn.Sigmoid),
    )
}
IDENTITY, TANH = "torch.nn.modules.linear.Identity", "torch.nn.modules.activation.Tanh"


@dataclass(frozen=True)
class DenseSpec:
    """A linear map behind the pooling.

    Args:
        in_features, out_features: widths of the vectors before and after it, 1 or more.
        bias: whether it has one.
        activation: what follows it, as sentence-transformers writes it (`ACTIVATIONS`).
        residual: whether its input is added, through a map of its own where the widths differ.
    """

    in_features: int
    out_features: int
    bias: bool = True
    activation: str = IDENTITY
    residual: bool = False


@dataclass(frozen=True)
class SentenceModules:
    """Everything between the last hidden state and the vector of a text.

    Args:
        pooling: of `POOLINGS`; several are put side by side.
        dense: linear maps in their order.
        normalize: whether each vector is scaled to length 1, at the end.
        max_tokens: that texts are cut to, special ones included; None: as many as the encoder takes.
        similarity: which number of two vectors says how alike they are: ``cosine`` or ``dot``.
    """

    pooling: tuple[str, ...] = ("mean",)
    dense: tuple[DenseSpec, ...] = ()
    normalize: bool = False
    max_tokens: int | None = None
    similarity: str = "cosine"

    def __post_init__(self) -> None:
        for name in self.pooling:
            if name not in POOLINGS:
                raise unknown("pooling", name, POOLINGS)
        if not self.pooling:
            raise RequestError(f"no pooling is said: give one of {', '.join(POOLINGS)}")

    def width(self, hidden: int) -> int:
        """How many numbers the vector of a text has, with hidden states of width ``hidden``."""
        return self.dense[-1].out_features if self.dense else len(self.pooling) * hidden

    def projected(self, hidden: int, width: int, *, bias: bool = True) -> "SentenceModules":
        """With one linear map more, to ``width``, for an encoder whose hidden states are ``hidden`` wide."""
        return replace(self, dense=(*self.dense, DenseSpec(self.width(hidden), width, bias=bias)))

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for a model's config."""
        return {**asdict(self), "pooling": [*self.pooling], "dense": [asdict(each) for each in self.dense]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SentenceModules":
        """What `to_dict` gave. Raises RequestError for values that it cannot have given."""
        try:
            dense = tuple(DenseSpec(**each) for each in values["dense"])
            return cls(
                tuple(values["pooling"]),
                dense,
                bool(values["normalize"]),
                values["max_tokens"],
                values.get("similarity", "cosine"),
            )
        except (KeyError, TypeError) as error:
            raise RequestError(
                f"a config describes its sentence vectors with {values!r:.80}: save it again"
            ) from error


# ---- a folder of sentence-transformers ----


def read_modules(folder: Path, hidden: int) -> SentenceModules | None:
    """What a folder of sentence-transformers says of its vectors; None where it has no ``modules.json``.

    Args:
        folder: the model's.
        hidden: width of the encoder's hidden states.
    Raises:
        RequestError: a module that is of another library or an unknown one, unknown settings, a damaged file, modules
            in an order or of widths that give no vector.
    """
    path = folder / MODULES
    if not path.is_file():
        return None
    listed = read_json_list(path)
    kinds = [_kind(path, each) for each in listed]
    static = [kind for kind, _ in kinds[:1]] == [STATIC]
    if not static and [kind for kind, _ in kinds[:2]] != ["Transformer", "Pooling"]:
        raise RequestError(
            f"{path} lists {', '.join(kind for kind, _ in kinds) or 'no modules'}: a Transformer and a Pooling are "
            f"needed first, or a {STATIC}"
        )
    if kinds[0][1]:
        raise RequestError(f"{path} has the encoder in the folder '{kinds[0][1]}': one in the folder itself is needed")
    modules = replace(
        SentenceModules() if static else _pooling(folder / kinds[1][1] / "config.json", hidden),
        max_tokens=_max_tokens(folder),
        similarity=_similarity(folder),
    )
    first = 1 if static else 2
    for place, (kind, name) in enumerate(kinds[first:], start=first):
        if kind == "Normalize" and place == len(kinds) - 1:
            modules = replace(modules, normalize=True)
        elif kind == "Dense":
            dense = _dense(folder / name / "config.json", modules.width(hidden))
            modules = replace(modules, dense=(*modules.dense, dense))
        else:
            raise RequestError(f"{path} has {kind} in place {place}: Dense modules and, last, Normalize can be read")
    return modules


def dense_folders(modules: SentenceModules) -> list[str]:
    """The folder of each linear map, as `write_modules` names them."""
    return [f"{place}_Dense" for place in range(2, 2 + len(modules.dense))]


def dense_weights(folder: Path) -> list[dict[str, Tensor]]:
    """The weights of each linear map in a folder of sentence-transformers, in their order.

    Raises:
        RequestError: they are missing, damaged, or in a pickle alone.
    """
    names = [
        name for kind, name in (_kind(folder, each) for each in read_json_list(folder / MODULES)) if kind == "Dense"
    ]
    found = []
    for name in names:
        path = folder / name / "model.safetensors"
        if not path.is_file():
            pickled = " (pytorch_model.bin can run code when it is loaded and is not read)"
            has = pickled if (folder / name / "pytorch_model.bin").is_file() else ""
            raise RequestError(f"{path} is missing{has}: save the model again with sentence-transformers")
        try:
            found.append(load_file(path))
        except Exception as error:  # SafetensorError and whatever else a damaged file gives
            raise RequestError(f"{path} is damaged ({one_line(error)}): copy or save it again") from error
    return found


def write_modules(
    folder: Path,
    modules: SentenceModules,
    hidden: int,
    weights: Sequence[Mapping[str, Tensor]],
    *,
    static: bool = False,
) -> None:
    """Write what `SentenceTransformer(folder)` needs beside the encoder; in the form that every version of it reads.

    Args:
        folder: of the encoder.
        modules: what to write.
        hidden: width of the encoder's hidden states.
        weights: of each linear map: ``linear.weight``, maybe ``linear.bias`` and ``residual.weight``.
        static: whether the encoder is a table whose rows' mean is the vector, which sentence-transformers has a module
            of its own for.
    """
    before = {"": STATIC} if static else {"": "Transformer", "1_Pooling": "Pooling"}
    names = [*before, *dense_folders(modules)]
    kinds = [*before.values(), *["Dense"] * len(modules.dense)]
    if modules.normalize:
        names.append(f"{len(names)}_Normalize")
        kinds.append("Normalize")
    for name in names:
        (folder / name).mkdir(parents=True, exist_ok=True)
    if not static:
        in_order = [*modules.pooling] == sorted(modules.pooling, key=POOLINGS.index)
        flags = {flag: name in modules.pooling for flag, name in _FLAGS.items()}
        said = flags if in_order else {"pooling_mode": [*modules.pooling]}  # which older versions do not know
        _write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": hidden, **said})
    for name, spec, tensors in zip(names[len(before) :], modules.dense, weights, strict=False):
        own = {
            "in_features": spec.in_features,
            "out_features": spec.out_features,
            "bias": spec.bias,
            "activation_function": spec.activation,
            **({"use_residual": True} if spec.residual else {}),
        }
        _write_json(folder / name / "config.json", own)
        save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, folder / name / "model.safetensors")
    _write_json(folder / _ENCODER, {"max_seq_length": modules.max_tokens, "do_lower_case": False})
    _write_json(
        folder / _PROMPTS, {"prompts": {}, "default_prompt_name": None, "similarity_fn_name": modules.similarity}
    )
    # Last: without it the folder is that of a bare encoder
    listed = [
        {"idx": place, "name": str(place), "path": name, "type": f"sentence_transformers.models.{kind}"}
        for place, (kind, name) in enumerate(zip(kinds, names, strict=True))
    ]
    _write_json(folder / MODULES, listed)


def _write_json(path: Path, values: object) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _kind(path: Path, entry: object) -> tuple[str, str]:
    """The class of a module, without its package, and its folder."""
    kind = entry.get("type") if isinstance(entry, Mapping) else None
    name = entry.get("path", "") if isinstance(entry, Mapping) else None
    if not isinstance(kind, str) or not isinstance(name, str):
        raise RequestError(f"{path} is damaged (a module has no type and path): copy or save it again")
    package, _, kind_name = kind.rpartition(".")
    if package.split(".")[0] != "sentence_transformers":
        raise RequestError(
            f"{path} names the module '{kind:.60}', which is code of its own and never run: one of "
            "sentence-transformers is needed"
        )
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise RequestError(f"{path} has a module in '{name}': a folder beside it is needed")
    return kind_name, name


def _pooling(path: Path, hidden: int) -> SentenceModules:
    raw = read_json(path)
    said = raw.get("pooling_mode")
    names = [said] if isinstance(said, str) else said
    if names is None:
        names = [name for flag, name in _FLAGS.items() if raw.get(flag) is True] or ["mean"]
        strange = [key for key in raw if key.startswith("pooling_mode_") and key not in _FLAGS and raw[key]]
        names += [key.removeprefix("pooling_mode_") for key in strange]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise RequestError(f"{path} has pooling_mode {said!r:.40}: one of {', '.join(POOLINGS)} is needed")
    width = raw.get("embedding_dimension", raw.get("word_embedding_dimension", hidden))
    if width != hidden:
        raise RequestError(
            f"{path} pools vectors of {width!r:.20} numbers and the encoder gives {hidden}: copy it again"
        )
    if raw.get("include_prompt") is False:
        raise RequestError(
            f"{path} leaves a prompt out of the pooling (include_prompt: false), which is not supported"
        )
    try:
        return SentenceModules(tuple(names))
    except RequestError as error:
        raise RequestError(f"{path}: {error}") from error


def _dense(path: Path, width: int) -> DenseSpec:
    raw = read_json(path)
    activation = raw.get("activation_function", TANH)
    if activation not in ACTIVATIONS:
        raise RequestError(
            f"{path} has the activation_function {activation!r:.60}, which is not run: one of "
            f"{', '.join(kind.__name__ for kind in ACTIVATIONS.values())} of torch.nn is needed"
        )
    sizes = [raw.get("in_features"), raw.get("out_features")]
    if not all(isinstance(size, int) and not isinstance(size, bool) and size >= 1 for size in sizes):
        raise RequestError(f"{path} has in_features and out_features {sizes!r:.60}: whole numbers from 1 are needed")
    if sizes[0] != width:
        raise RequestError(f"{path} takes vectors of {sizes[0]} numbers and gets {width}: copy the model again")
    reads = raw.get("module_input_name", "sentence_embedding")
    if not all(_OF_SENTENCE.fullmatch(str(name)) for name in (reads, raw.get("module_output_name") or reads)):
        raise RequestError(f"{path} reads {reads!r:.40}: a Dense module of the sentence's vector is needed")
    return DenseSpec(
        width, int(sizes[1] or 0), raw.get("bias", True) is True, activation, raw.get("use_residual") is True
    )


def _max_tokens(folder: Path) -> int | None:
    """How long texts may be; and whether anything is done to them that no tokenizer does."""
    raw = read_json(folder / _ENCODER) if (folder / _ENCODER).is_file() else {}
    if raw.get("do_lower_case") is True:
        raise RequestError(
            f"{folder / _ENCODER} has do_lower_case true: let the tokenizer lower-case (do_lower_case in "
            "tokenizer_config.json) and set it to false"
        )
    prompts = read_json(folder / _PROMPTS) if (folder / _PROMPTS).is_file() else {}
    if prompts.get("default_prompt_name"):
        raise RequestError(
            f"{folder / _PROMPTS} puts the prompt {prompts['default_prompt_name']!r:.40} before every text, which is "
            "not supported: set default_prompt_name to null and put it into the texts"
        )
    length = raw.get("max_seq_length")
    if length is not None and (isinstance(length, bool) or not isinstance(length, int) or length < 3):
        raise RequestError(f"{folder / _ENCODER} has max_seq_length {length!r:.20}: a whole number from 3 is needed")
    return length


def _similarity(folder: Path) -> str:
    """``dot`` where the folder says so; else the cosine, which is the default of sentence-transformers."""
    said = read_json(folder / _PROMPTS).get("similarity_fn_name") if (folder / _PROMPTS).is_file() else None
    return "dot" if said in ("dot", "dot_product") else "cosine"


def make_dense(spec: DenseSpec) -> nn.Module:
    """The linear map of a specification, with the parameters' names that its file has."""
    return _Dense(spec)


class _Dense(nn.Module):
    def __init__(self, spec: DenseSpec) -> None:
        super().__init__()
        self.linear = nn.Linear(spec.in_features, spec.out_features, bias=spec.bias)
        self.activation = ACTIVATIONS[spec.activation]()
        own = spec.residual and spec.in_features != spec.out_features
        self.residual = nn.Linear(spec.in_features, spec.out_features, bias=False) if own else None
        self._adds = spec.residual

    def forward(self, vectors: Tensor) -> Tensor:
        """``(batch, in_features)`` to ``(batch, out_features)``."""
        found: Tensor = self.activation(self.linear(vectors))
        if not self._adds:
            return found
        added: Tensor = found + (vectors if self.residual is None else self.residual(vectors))
        return added


def pool_tokens(states: Tensor, mask: Tensor, pooling: Sequence[str]) -> Tensor:
    """One vector a text out of its tokens' states, as sentence-transformers computes it.

    Shapes:
        states: ``(batch, tokens, width)``; mask: ``(batch, tokens)``, 1 for a token and 0 for padding, on either
        side; returns ``(batch, len(pooling) * width)``, in the order of ``pooling``.
    """
    real = mask.bool()
    count = real.sum(dim=1, keepdim=True).to(states.dtype).clamp_min(1e-9)  # (batch, 1)
    kept = states.where(real[..., None], states.new_zeros(()))  # padding may hold anything
    found = []
    for name in pooling:
        if name == "cls":
            found.append(_at(states, real.int().argmax(dim=1)))
        elif name == "max":
            found.append(states.masked_fill(~real[..., None], -torch.inf).amax(dim=1))
        elif name == "mean":
            found.append(kept.sum(dim=1) / count)
        elif name == "mean_sqrt_len_tokens":
            found.append(kept.sum(dim=1) / count.sqrt())
        elif name == "weightedmean":
            places = real.cumsum(dim=1) * real  # (batch, tokens), from 1 at the first token
            weights = places.to(states.dtype)
            found.append((kept * weights[..., None]).sum(dim=1) / weights.sum(dim=1, keepdim=True).clamp_min(1e-9))
        else:
            last = real.shape[1] - 1 - real.flip(1).int().argmax(dim=1)
            found.append(_at(states, last))
    return torch.cat(found, dim=-1)


def _at(states: Tensor, places: Tensor) -> Tensor:
    """The state at one place of each text, ``(batch, width)``."""
    return states.gather(1, places[:, None, None].expand(-1, 1, states.shape[-1])).squeeze(1)
