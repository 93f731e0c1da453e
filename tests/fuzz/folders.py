"""Damaged model folders: fields deleted, retyped and made extreme, files cut, flipped, swapped, removed."""

import contextlib
import json
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

__all__ = ["Damage", "damages"]

Damage = Callable[[Path], None]

VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    2,
    -1,
    3,
    7,
    33,
    99_999,
    10**12,
    10**30,
    0.5,
    -0.5,
    1e308,
    "",
    "32",
    "nosuch",
    "\ud83d\ude00",
    "../outside",
    "/etc/hostname",
    [],
    [1, 2],
    ["a", "b", "c"],
    {},
    {"0": "a"},
    {"a": 1},
    {"1": "a", "2": "b", "3": "c"},
    [[[[]]]],
)
WHOLE = (
    "",
    "{}",
    "[]",
    "null",
    "5",
    '"text"',
    "{",
    "\0\0",
    "[" * 100_000,
    '{"model_type": "bert"}',
    "NaN",
    "\ufeff{}",
)
EXTRA_KEYS = (
    *("auto_map", "quantization_config", "transformers_weights", "attn_implementation", "_attn_implementation"),
    *("return_dict", "output_attentions", "output_hidden_states", "is_decoder", "is_encoder_decoder", "num_labels"),
    *("to_dict", "per_layer_config", "chunk_size_feed_forward", "pruned_heads", "torchscript", "use_cache"),
    *("problem_type", "tie_word_embeddings", "dtype", "torch_dtype", "_name_or_path", "rope_scaling", "id2label"),
)


def damages(folder: Path, count: int, seed: int = 0) -> Iterator[tuple[str, Damage]]:
    """Ways to damage copies of a folder, each with what it does, in words.

    Args:
        folder: a sound model's, or one with adapters; only its files' names and JSON keys are read.
        count: how many.
        seed: equal seeds give equal damages.
    """
    rng = random.Random(seed)
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    kinds = [_field, _field, _field, _nested, _byte, _byte, _cut, _whole, _file, _extra]
    for _ in range(count):
        name, damage = rng.choice(kinds)(rng, folder, files)
        if rng.random() < 0.1:
            further, second = rng.choice(kinds)(rng, folder, files)
            name, damage = f"{name}, and {further}", _both(damage, second)
        yield name, damage


def _both(first: Damage, second: Damage) -> Damage:
    def damage(folder: Path) -> None:
        first(folder)
        if any(path.is_fifo() for path in folder.iterdir()):
            return  # to write to a pipe is to wait for ever
        # The first may have left nothing that the second could damage.
        with contextlib.suppress(AttributeError, LookupError, OSError, TypeError, ValueError):
            second(folder)

    return damage


def _field(rng: random.Random, folder: Path, files: list[str]) -> tuple[str, Damage]:
    name = rng.choice([file for file in files if file.endswith("config.json")])
    key = rng.choice(sorted(json.loads((folder / name).read_text("utf-8"))))
    if rng.random() < 0.2:
        return f"{name} without {key}", lambda at: _change(at / name, lambda made: made.pop(key, None))
    value = rng.choice(VALUES)
    return f"{name} with {key}: {value!r}", lambda at: _change(at / name, lambda made: made.update({key: value}))


def _extra(rng: random.Random, folder: Path, files: list[str]) -> tuple[str, Damage]:
    name = rng.choice([file for file in files if file.endswith("config.json")])
    key, value = rng.choice(EXTRA_KEYS), rng.choice(VALUES)
    return f"{name} with {key}: {value!r}", lambda at: _change(at / name, lambda made: made.update({key: value}))


def _nested(rng: random.Random, folder: Path, files: list[str]) -> tuple[str, Damage]:
    """A value somewhere inside a JSON file: of the tokenizer, mostly."""
    name = rng.choice([file for file in files if file.endswith(".json")])
    made: Any = json.loads((folder / name).read_text("utf-8"))
    path: list[Any] = []
    while isinstance(made, dict | list) and made and (not path or rng.random() < 0.8):
        key = rng.choice(sorted(made)) if isinstance(made, dict) else rng.randrange(len(made))
        path.append(key)
        made = made[key]
    removed, value = rng.random() < 0.3, rng.choice(VALUES)

    def change(made: Any) -> None:
        for key in path[:-1]:
            made = made[key]
        if removed:
            del made[path[-1]]
        else:
            made[path[-1]] = value

    return f"{name} {'without' if removed else f'{value!r} at'} {path}", lambda at: _change(at / name, change)


def _change(path: Path, change: Callable[[Any], object]) -> None:
    made = json.loads(path.read_text("utf-8"))
    change(made)
    path.write_text(json.dumps(made), "utf-8")


def _byte(rng: random.Random, folder: Path, files: list[str]) -> tuple[str, Damage]:
    name = rng.choice(files)
    size = (folder / name).stat().st_size
    # Half of them in the first bytes, where a file of weights has its header.
    places = [rng.randrange(min(size, 2000) if rng.random() < 0.5 else size) for _ in range(rng.choice((1, 1, 8, 64)))]
    bits = [1 << rng.randrange(8) for _ in places]

    def damage(at: Path) -> None:
        content = bytearray((at / name).read_bytes())
        for place, bit in zip(places, bits, strict=True):
            if place < len(content):
                content[place] ^= bit
        (at / name).write_bytes(content)

    return f"{name} with bits flipped at {places[:3]}", damage


def _cut(rng: random.Random, folder: Path, files: list[str]) -> tuple[str, Damage]:
    name = rng.choice(files)
    length = rng.choice((0, 1, 7, 8, 9, 100, rng.randrange((folder / name).stat().st_size)))
    return f"{name} cut to {length} bytes", lambda at: os.truncate(at / name, length)


def _whole(rng: random.Random, folder: Path, files: list[str]) -> tuple[str, Damage]:
    name, content = rng.choice(files), rng.choice(WHOLE)
    return f"{name} holding {content[:20]!r}", lambda at: (at / name).write_text(content, "utf-8") and None


def _file(rng: random.Random, folder: Path, files: list[str]) -> tuple[str, Damage]:
    name, other = rng.sample(files, 2)
    kind = rng.choice(("removed", "a pipe", "a folder", "a broken link", "a copy"))

    def damage(at: Path) -> None:
        (at / name).unlink()
        if kind == "a pipe":
            os.mkfifo(at / name)
        elif kind == "a folder":
            (at / name).mkdir()
        elif kind == "a broken link":
            (at / name).symlink_to(at / "nowhere")
        elif kind == "a copy":
            shutil.copy(at / other, at / name)

    return f"{name}: {kind}{f' of {other}' if kind == 'a copy' else ''}", damage
