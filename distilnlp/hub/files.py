"""Which files of a run or model may be published, and whether they are whole; no network here."""

import json
import re
from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # documented, not in its __all__
from safetensors import SafetensorError, safe_open

from distilnlp.errors import RequestError, unknown
from distilnlp.exported_file import exported_files, file_format_of, files_of, is_exported_name
from distilnlp.hub_token import holds_token
from distilnlp.recipe.names import is_stage_name, models_of_stages
from distilnlp.recipe.seeds import stages_of_seeds
from distilnlp.yaml_text import read_yaml

__all__ = ["EVAL_RESULTS", "files_to_push", "is_ours", "refuse_secrets"]

# All that may ever leave the machine, by name. Checkpoints, optimizers, pickles and logs are not here, so they stay.
MODEL, INDEX, ADAPTER = "model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors"
SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
SENTENCEPIECE = ("tokenizer.model", "spiece.model", "spm.model", "sentencepiece.bpe.model")
VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "bpe.codes", *SENTENCEPIECE)
TOKENIZER = (*VOCABULARIES, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "merges.txt")
# What sentence-transformers keeps beside an encoder, and in a folder for each module.
MODULES, BESIDE = "modules.json", ("sentence_bert_config.json", "config_sentence_transformers.json")
MODULE_FILE = re.compile(r"\d+_[A-Za-z]+/(config\.json|model\.safetensors)")
RECORDS = ("recipe.yaml", "report.json")
# Where the Hub looks for a model's scores; made of the report when it is pushed.
EVAL_RESULTS = ".eval_results/distilnlp.yaml"
CARD = "README.md"
# Small heads beside a model, of which its config tells (distilnlp.models.exits).
EXITS, EXITS_FIELD = "exits.safetensors", "distilnlp_exits"
OURS = {
    "config.json",
    "adapter_config.json",
    MODEL,
    INDEX,
    ADAPTER,
    *TOKENIZER,
    MODULES,
    *BESIDE,
    EXITS,
    *RECORDS,
    EVAL_RESULTS,
}
PICKLES = ("pytorch_model*.bin", "adapter_model.bin", "model*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")


def is_ours(name: str) -> bool:
    """Whether a file of this name is one that `push` writes; the card is not, since people write it too."""
    folder, _, file = name.rpartition("/")
    return (
        name in OURS
        or is_exported_name(folder, file)
        or any(pattern.fullmatch(name) for pattern in (SHARD, MODULE_FILE))
    )


def files_to_push(folder: str | Path, stage: str | None = None) -> dict[str, Path]:
    """Name in the repository -> local file of all that `push` would upload, after checking that it is complete.

    Args:
        folder, stage: as in `push`.

    Raises:
        RequestError: no such folder or stage; a file that is needed is missing or broken; weights only in pickles; a
            file or a stage's folder that is a symbolic link.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise RequestError(f"'{folder}' is not a folder: give a run's folder or one with a model and its tokenizer")
    is_model = (folder / "config.json").is_file() or (folder / "adapter_config.json").is_file()
    if is_model and stage is not None:
        raise RequestError(f"'{folder}' holds a model, not stages: leave out stage '{stage}' or give the run's folder")
    if not is_model:
        return _files_of_stage(folder, *_find_stage(folder, stage))
    if (folder / "metrics.json").is_file() and (folder.parent / "recipe.yaml").is_file():
        return _files_of_stage(folder.parent, *_find_stage(folder.parent, folder.name))
    records = [folder / name for name in (*RECORDS, CARD)]
    return _named(folder, folder, *_of_model(folder), records)


def _files_of_stage(run: Path, stage: str, is_last: bool) -> dict[str, Path]:
    """The stage's model with the run's recipe and report."""
    model = run / stage
    # The run's card describes its last stage; another stage goes with a card of its own, or with none.
    card = run / CARD if is_last and not (model / CARD).is_file() else model / CARD
    if is_last and not card.is_file():
        raise RequestError(f"'{run}' has no model card ({CARD}): finish the run, it writes the card at its end")
    records = [*(run / name for name in RECORDS), card]
    return _named(run, model, *_of_model(model), records)


def _of_model(model: Path) -> list[list[Path]]:
    exported = [file for path in exported_files(model) for file in files_of(path)]
    return [_config_and_weights(model), exported, _tokenizer(model), _modules(model), _exits(model)]


def _named(root: Path, model: Path, *groups: list[Path]) -> dict[str, Path]:
    """By their names; a link could bring anything of this machine under the name of a file that is published."""
    found = [path for group in groups for path in group if path.is_file()]
    # Those of a module stand in its own folder inside of the model's
    files = {f"{path.parent.name}/{path.name}" if path.parent.parent == model else path.name: path for path in found}
    inside = root.resolve()
    for path in files.values():
        if path.is_symlink() or not path.resolve().is_relative_to(inside):
            raise RequestError(
                f"'{path}' is a symbolic link to '{path.resolve()}', and what leaves this machine has to stand in "
                f"'{root}': put the file itself there, or push a copy made with `cp -rL`"
            )
    return files


def _find_stage(run: Path, stage: str | None) -> tuple[str, bool]:
    """The finished stage to push, and whether it is the last one of the run's recipe."""
    try:
        recipe = read_yaml((run / "recipe.yaml").read_text("utf-8"), str(run / "recipe.yaml"))[0]
        last = next(reversed(models_of_stages(recipe["stages"])), "")  # of several seeds that of the first
        names = list(models_of_stages(stages_of_seeds(recipe)))  # of a stage with several tasks one for each
    except (OSError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        raise RequestError(
            f"'{run}' is neither a model (no config.json) nor a run (no recipe.yaml with stages): give one of the two"
        ) from None
    for name in names:
        if not is_stage_name(name):
            raise RequestError(f"'{run / 'recipe.yaml'}' is not the recipe of a run: '{name}' is no name of a stage")
    if not names or (stage is not None and stage not in names):
        raise unknown("stage", str(stage), names)
    chosen = last if stage is None else stage
    if not (run / chosen / "metrics.json").is_file():
        finished = [name for name in names if (run / name / "metrics.json").is_file()]
        way_out = f"or push a finished stage by name: {', '.join(finished)}" if finished else "none of its stages is"
        raise RequestError(f"stage '{chosen}' of '{run}' is not finished: run it to its end, {way_out}")
    return chosen, chosen == last


def _config_and_weights(model: Path) -> list[Path]:
    """Config and safetensors files of a model, of an adapter or of both, each opened once to see that it is whole.

    An exported model has files of its format in their place, or beside them; those are opened too.
    """
    adapter = [model / name for name in ("adapter_config.json", ADAPTER)]
    has_adapter = any(path.is_file() for path in adapter)
    files = adapter if has_adapter else []
    if (model / MODEL).is_file():
        files = [*files, model / "config.json", model / MODEL]
    elif (model / INDEX).is_file():
        weight_map = _read_json(model / INDEX).get("weight_map")
        shards = sorted({str(name) for name in weight_map.values()}) if isinstance(weight_map, dict) else []
        if not shards or not all(SHARD.fullmatch(name) for name in shards):
            raise RequestError(
                f"'{model / INDEX}' names no shards like model-00001-of-00002.safetensors: save it again"
            )
        files = [*files, model / "config.json", model / INDEX, *(model / name for name in shards)]
    elif (model / "config.json").is_file():
        files = [*files, model / "config.json"]
    exported = exported_files(model)
    for path in exported:
        kind = file_format_of(path)
        if kind is not None:
            kind.check(path)
    if not exported and not any(path.suffix == ".safetensors" for path in files):
        pickles = sorted(path.name for pattern in PICKLES for path in model.glob(pattern))
        found = f" but {', '.join(pickles)}, which can run code when loaded" if pickles else ""
        raise RequestError(f"'{model}' has no safetensors weights{found}: save the model again with save_pretrained")
    for path in files:
        _check_whole(path)
    if has_adapter:
        _check_adapter_base(adapter[0])
    return files


def _check_whole(path: Path) -> None:
    """Read a JSON file, or the header of a safetensors file, which also says how long the file must be."""
    if not path.is_file():
        raise RequestError(f"'{path.parent}' is incomplete, {path.name} is missing: save the model again")
    if path.suffix == ".json":
        _read_json(path)
        return
    try:
        with safe_open(path, framework="np") as weights:
            empty = not list(weights.keys())
    except (SafetensorError, OSError) as error:
        raise RequestError(f"'{path}' is cut off or no safetensors file ({error}): save the model again") from None
    if empty:
        raise RequestError(f"'{path}' holds no tensors: save the model again")


def _read_json(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RequestError(f"'{path}' cannot be read as JSON ({error}): save the model again") from None
    if not isinstance(content, dict):
        raise RequestError(f"'{path}' holds no JSON object: save the model again")
    return content


def _check_adapter_base(config: Path) -> None:
    """An adapter is useless to others when it stands on a folder of this machine."""
    base = str(_read_json(config).get("base_model_name_or_path"))
    try:
        validate_repo_id(base)
        local = Path(base).exists()
    except HFValidationError:
        local = True
    if local:
        raise RequestError(
            f"the adapter '{config.parent}' stands on '{base}', which nobody else can load: merge it, or push its "
            "base first and name that repository in adapter_config.json"
        )


def _exits(model: Path) -> list[Path]:
    """The heads beside a model whose config tells of some; those of another training that lie there stay."""
    config = model / "config.json"
    if not config.is_file() or EXITS_FIELD not in _read_json(config):
        return []
    _check_whole(model / EXITS)
    return [model / EXITS]


def _modules(model: Path) -> list[Path]:
    """The files of a sentence encoder's modules, with which the Hub's users load it; none of another model."""
    if not (model / MODULES).is_file():
        return []
    try:
        listed = json.loads((model / MODULES).read_text("utf-8"))
        folders = [str(each["path"]) for each in listed if each["path"]]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RequestError(f"'{model / MODULES}' lists no modules ({error!r}): save the model again") from None
    files = [model / name for name in (MODULES, *BESIDE)]
    for folder in folders:
        names = [f"{folder}/config.json", f"{folder}/model.safetensors"]
        if not MODULE_FILE.fullmatch(names[0]):
            raise RequestError(f"'{model / MODULES}' names the folder '{folder}', and one like 1_Pooling is needed")
        there = [model / name for name in names if (model / name).is_file()]
        for path in there:
            _check_whole(path)
        # Normalize has no file at all
        if not there and not folder.endswith("_Normalize"):
            raise RequestError(f"'{model}' is incomplete, {folder}/config.json is missing: save the model again")
        files += there
    return files


def _tokenizer(model: Path) -> list[Path]:
    files = [model / name for name in TOKENIZER if (model / name).is_file()]
    names = {path.name for path in files}
    if "tokenizer_config.json" not in names or names.isdisjoint(VOCABULARIES):
        raise RequestError(f"'{model}' has no complete tokenizer: tokenizer.save_pretrained(...) writes it there")
    return files


def refuse_secrets(files: dict[str, Path], message: str, token: str) -> None:
    """Refuse a file or message with this token, or with anything that looks like one: the Hub keeps all history."""
    for name, content in [("the commit message", message.encode()), *((str(p), _text_of(p)) for p in files.values())]:
        if token.encode() in content or holds_token(content):
            raise RequestError(f"{name} holds an access token: take it out (and revoke it if others could read it)")


def _text_of(path: Path) -> bytes:
    """All of a small file; of a file of weights what is no number: the header of safetensors, the texts of a graph."""
    kind = file_format_of(path)
    if kind is not None:
        return kind.words_of(path)
    if path.suffix == ".bin":  # only numbers that its graph describes: their format has been checked
        return b""
    with path.open("rb") as file:
        return file.read(int.from_bytes(file.read(8), "little") if path.suffix == ".safetensors" else -1)
