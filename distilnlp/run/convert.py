"""Makes safetensors of a model's pickles, reading tensors and nothing else."""

import json
import re
import shutil
import warnings
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from distilnlp.errors import RequestError
from distilnlp.models.adapters import PICKLE, WEIGHTS, adapter_base, is_adapter
from distilnlp.models.checks import one_line, read_json
from distilnlp.models.loading import READ, load_classifier, load_tokenizer, local_folder
from distilnlp.run.new_folder import check_new, new_folder

__all__ = ["convert"]

SINGLE, INDEX, SHARDS = "pytorch_model.bin", "pytorch_model.bin.index.json", "pytorch_model-*.bin"
PICKLES = (SINGLE, INDEX, SHARDS, PICKLE)


def convert(model: str, output: str | Path) -> Path:
    """Make a folder with safetensors of a model that has its weights, or adapters, in pickles only.

    The pickles are read with ``weights_only``: what is no tensor is not made, and no code of theirs is run. The new
    folder is loaded once before it takes its place, so that it is one that loads, or is not there.

    Args:
        model: a folder or Hub id.
        output: the new folder.
    Returns:
        the new folder.
    Raises:
        RequestError: there is nothing to convert; a pickle with more than tensors in it; weights that do not fit the
            config; ``output`` is there already.
    """
    output = Path(output)
    check_new(output)
    folder = local_folder(model, [*READ, *PICKLES])
    adapter = is_adapter(folder)
    source, target = (PICKLE, WEIGHTS) if adapter else (SINGLE, "model.safetensors")
    if (folder / target).is_file() or (folder / "model.safetensors.index.json").is_file():
        raise RequestError(f"{model} has {target} already, so there is nothing to convert: use it as it is")
    tensors: dict[str, Tensor] = {}
    for path in _pickles(folder, source):
        # Copies: what shares its memory with another tensor cannot be written, and loading ties it again.
        tensors |= {name: tensor.contiguous().clone() for name, tensor in _read(path).items()}
    with new_folder(output) as made:
        for file in sorted(path for path in folder.iterdir() if _is_kept(path)):
            shutil.copyfile(file, made / file.name)
        if adapter:
            _name_base(folder, made)
        save_file(tensors, made / target, metadata={"format": "pt"})
        load_classifier(made)
        if any(made.glob("*token*")) or any(made.glob("vocab.*")):
            load_tokenizer(made)
    return output


def _is_kept(path: Path) -> bool:
    weights = path.suffix == ".safetensors" or path.name.endswith(".index.json")
    return path.is_file() and path.name in READ and not weights


def _name_base(folder: Path, made: Path) -> None:
    """A base that is a folder is named in full, since the adapters are in another one now."""
    base = Path(adapter_base(folder)).expanduser()
    if base.is_dir():
        config = {**read_json(made / "adapter_config.json"), "base_model_name_or_path": str(base.resolve())}
        (made / "adapter_config.json").write_text(json.dumps(config, indent=2), "utf-8")


def _pickles(folder: Path, source: str) -> list[Path]:
    if (folder / source).is_file():
        return [folder / source]
    index = folder / INDEX
    if source == PICKLE or not index.is_file():
        raise RequestError(f"{folder} has no {source}: there is nothing to convert")
    named = read_json(index).get("weight_map")
    files = sorted({str(file) for file in named.values()}) if isinstance(named, dict) else []
    wrong = [file for file in files if not re.fullmatch(r"[\w.-]+\.bin", file) or not (folder / file).is_file()]
    if wrong or not files:
        raise RequestError(f"{index} names {wrong[0] if wrong else 'no files'!r}: a .bin file beside it is needed")
    return [folder / file for file in files]


def _read(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings(action="ignore"):  # of the form of a pickle that is refused in the next moment
            found: Any = torch.load(path, map_location="cpu", weights_only=True)  # noqa: TID251 - the way out of them
    except UnpicklingError as error:
        raise RequestError(
            f"{path} holds more than tensors, which could run code, and is not read: have it saved again by who made "
            "it, with save_pretrained"
        ) from error
    except Exception as error:  # a damaged archive is whatever its reader stumbles over
        raise RequestError(f"{path} is damaged ({one_line(error)}): copy it again") from error
    if not isinstance(found, dict) or not all(isinstance(each, Tensor) for each in found.values()) or not found:
        raise RequestError(f"{path} is no table of tensors: the weights of a model are needed")
    wrong = [name for name, tensor in found.items() if not isinstance(name, str) or tensor.layout != torch.strided]
    if wrong:
        raise RequestError(f"{path} has {wrong[0]!r:.60}, which is no plain tensor with a name: save it again")
    return found
