"""Adapters of PEFT: read from safetensors and a config of known keys, put on their base, and merged into it."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel

from distilnlp.errors import RequestError
from distilnlp.models.checks import is_body, label_count, one_line, pickled, read_json, read_shapes
from distilnlp.models.heads import model_from_config
from distilnlp.problems import label_settings

__all__ = ["Adapter", "adapter_base", "apply_adapter", "is_adapter", "labels_of_adapter", "read_adapter"]

CONFIG, WEIGHTS, PICKLE = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"
METHODS = ("ADALORA", "IA3", "LOHA", "LOKR", "LORA")  # that end in a plain model, merged
# Keys of a config by which PEFT imports modules, reads other folders or starts from other weights.
NOT_THE_FOLDERS = {
    "arrow_config",
    "auto_mapping",
    "corda_config",
    "eva_config",
    "loftq_config",
    "lora_ga_config",
    "megatron_config",
    "megatron_core",
    "revision",
    "runtime_config",
}
# How a LoRA starts matters to one that is loaded only where the start changes the base too (pissa, olora, ...).
HARMLESS_STARTS = (None, True, False, "gaussian", "orthogonal", "eva")
NOT_MERGED = ("alora_invocation_tokens", "layer_replication")


@dataclass(frozen=True)
class Adapter:
    """What a folder of adapters holds.

    Args:
        folder: where it is.
        config: its ``adapter_config.json``, the keys that PEFT knows and that choose no code.
        weights: by their names in the base model.
    """

    folder: Path
    config: dict[str, Any]
    weights: dict[str, Tensor]

    def without_head(self, base: PreTrainedModel) -> "Adapter":
        """The adapters of the body alone, for another head."""
        head = [key for key in base.state_dict() if not is_body(base, key)]
        weights = {key: tensor for key, tensor in self.weights.items() if key not in head}
        return Adapter(self.folder, {**self.config, "task_type": None, "modules_to_save": None}, weights)


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds adapters, and so needs a base."""
    return (folder / CONFIG).is_file()


def adapter_base(folder: Path) -> str:
    """The base model that a folder of adapters names: a folder, looked for here and then beside it, or a Hub id.

    Raises:
        RequestError: a damaged config, or one that names none.
    """
    path = folder / CONFIG
    base = read_json(path).get("base_model_name_or_path")
    if not base or not isinstance(base, str):
        raise RequestError(f"{path} names no base model: set its base_model_name_or_path to a folder or Hub id")
    here, beside = Path(base).expanduser(), folder / base
    return str(beside) if not _holds_model(here) and _holds_model(beside) else base


def _holds_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() or is_adapter(folder)


def read_adapter(folder: Path) -> Adapter:
    """Read a folder of adapters. No code is run and no module is imported that it names.

    Raises:
        RequestError: damaged or pickled files, adapters of a kind or a task that cannot be part of a classifier.
    """
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING  # not at the top: PEFT takes a second

    path, weights = folder / CONFIG, folder / WEIGHTS
    adapter_base(folder)
    raw = read_json(path)
    method, task = raw.get("peft_type"), raw.get("task_type")
    if method not in METHODS:
        raise RequestError(
            f"cannot load the adapters of {folder}: their peft_type is {method!r:.40}, and only "
            f"{', '.join(METHODS)} can be merged into a model"
        )
    if task not in (None, "SEQ_CLS"):
        raise RequestError(
            f"cannot load the adapters of {folder}: their task_type is {task!r:.40}, so that they bring no "
            "classification head: train them with task_type SEQ_CLS"
        )
    start, special = raw.get("init_lora_weights"), [key for key in NOT_MERGED if raw.get(key)]
    if special or not any(start is each or start == each for each in HARMLESS_STARTS):
        raise RequestError(
            f"cannot load the adapters of {folder}: {special[0] if special else 'init_lora_weights'} changes what "
            "their base computes: merge them with PEFT, and use the merged model"
        )
    if not weights.is_file():
        if (folder / PICKLE).is_file():
            raise RequestError(pickled(str(folder), PICKLE))
        raise RequestError(f"{folder} has no {WEIGHTS}: save the adapters again, as safetensors")
    read_shapes([weights])
    known = {field.name for field in dataclasses.fields(PEFT_TYPE_TO_CONFIG_MAPPING[method])} - NOT_THE_FOLDERS
    config = {key: value for key, value in raw.items() if key in known and key != "init_lora_weights"}
    found = {key.removeprefix("base_model.model."): tensor for key, tensor in load_file(weights).items()}
    return Adapter(folder, config, found)


def labels_of_adapter(adapter: Adapter, config: PreTrainedConfig) -> Mapping[str, Any]:
    """The fields of the base's config that make it one for the adapters' own head; none where it is that already.

    Adapters do not save the names of their labels: those of a ``config.json`` beside them, of the base where it has as
    many, else numbers.
    """
    with torch.device("meta"):
        sketch = model_from_config(config)
    count = label_count(sketch, {key: tuple(tensor.shape) for key, tensor in adapter.weights.items()})
    beside = adapter.folder / "config.json"
    names = read_json(beside).get("id2label") if beside.is_file() else None
    if count is not None and isinstance(names, dict) and set(names) == {str(place) for place in range(count)}:
        return label_settings([str(names[str(place)]) for place in range(count)])
    return {} if count in (None, config.num_labels) else label_settings([f"LABEL_{place}" for place in range(count)])


def apply_adapter(model: PreTrainedModel, adapter: Adapter) -> torch.nn.Module:
    """The base with the adapters on it, not merged yet.

    Raises:
        RequestError: their shapes, layers or head are not those of the base.
    """
    from peft import get_peft_model, set_peft_model_state_dict
    from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

    folder = adapter.folder
    refused = f"the adapters in {folder} do not fit {model.name_or_path} with {model.config.num_labels} labels"
    try:
        config = PEFT_TYPE_TO_CONFIG_MAPPING[adapter.config["peft_type"]](**adapter.config)
        config.base_model_name_or_path = model.name_or_path
        config.inference_mode = True
        adapted = get_peft_model(model, config, low_cpu_mem_usage=True)
        weights = {f"base_model.model.{key}": tensor for key, tensor in adapter.weights.items()}
        result: Any = set_peft_model_state_dict(adapted, weights, low_cpu_mem_usage=True)
    except Exception as error:  # PEFT checks a config and its weights by using them
        raise RequestError(
            f"{refused}: save them again from the model that they were trained on ({one_line(error)})"
        ) from error
    absent = [name for name, parameter in adapted.named_parameters() if parameter.is_meta]
    if result.unexpected_keys or absent:
        key = (result.unexpected_keys or absent)[0]
        said = "has no place for" if result.unexpected_keys else "lacks"
        raise RequestError(
            f"{refused}: the {'base' if result.unexpected_keys else 'folder'} {said} {key}, save them again"
        )
    return adapted
