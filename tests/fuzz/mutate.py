"""Seeded damage: to trees of values, to text and to bytes."""

import copy
import math
import random
from collections.abc import Iterator
from typing import Any

__all__ = ["STRANGE", "damage_bytes", "damage_text", "damage_values", "paths_of", "strange", "typo"]

DEEP: Any = "x"
for _ in range(60):
    DEEP = [DEEP]

STRANGE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, 2, 3, -1, 7, 0.5, 1e-300, 1e300, 2**31, 2**63, 2**64, -(2**63), 10**30),
    *(math.nan, math.inf, -math.inf, "", " ", "a", "no", "yes", "true", "1", "-1", "nan", "1e5", "0,5", "1:30", "010"),
    *("é", "日本", "\U0001f600", "x" * 3000, "../..", "/", "/dev/null", "~nouser/x", ".", "\x00", "a\nb", "a b", "%s"),
    *("{}", "[", "none", "all", "auto", "teacher", "student", "epoch", "steps", "best", "text", "label"),
    *([], [1], [0, 1, 2], ["a"], [None], [[]], {}, {"a": 1}, {"": ""}, {"a": {"b": []}}, DEEP),
)

TOKENS = (
    *(
        "!!python/object/apply:os.system [x]",
        "!!binary x",
        "!!set {a}",
        "&a ",
        "*a",
        "<<: ",
        "<<: *a",
        "\t",
        "? ",
        "---",
    ),
    *(
        "\n...\n",
        "%YAML 1.1\n",
        "|",
        ">",
        "{",
        "}",
        "[" * 40,
        "]",
        ": ",
        "- ",
        "#",
        "\x00",
        "\ufeff",
        "\x85",
        "\u2028",
    ),
    *(
        ",",
        '"',
        "'",
        '""',
        "\\",
        "\r",
        "\r\n",
        ";",
        "\\ud800",
        "null",
        "NaN",
        "1e999",
        "9" * 400,
        "=1+1",
        "é",
        "\U0001f600",
    ),
)


def strange(rng: random.Random) -> Any:
    return copy.deepcopy(rng.choice(STRANGE))


def typo(rng: random.Random, word: str) -> str:
    """A word with one letter lost, doubled, swapped or in another case."""
    if not word:
        return "x"
    at = rng.randrange(len(word))
    return rng.choice(
        (
            word[:at] + word[at + 1 :],
            word[:at] + word[at] + word[at:],
            word[:at] + word[at : at + 2][::-1] + word[at + 2 :],
            word.upper(),
            word + " ",
        )
    )


def paths_of(tree: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every value in a tree, those of the branches too."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from paths_of(value, (*path, key))


def damage_values(rng: random.Random, tree: Any) -> str:
    """Change one thing in a tree of dicts and lists, and say what."""
    paths = list(paths_of(tree))
    if not paths:
        return "nothing"
    path = rng.choice(paths)
    holder = tree
    for key in path[:-1]:
        holder = holder[key]
    key, dotted = path[-1], ".".join(map(str, path))
    how = rng.choice(("replace", "replace", "replace", "remove", "rename", "wrap", "number", "swap", "add"))
    if how == "number" and isinstance(holder[key], int | float) and not isinstance(holder[key], bool):
        holder[key] = rng.choice((-holder[key], holder[key] * 10**6, holder[key] / 3, float(holder[key]), 0))
    elif how == "remove":
        del holder[key]
        return f"{dotted} removed"
    elif how == "rename" and isinstance(holder, dict):
        new = typo(rng, str(key))
        holder[new] = holder.pop(key)
        return f"{dotted} renamed to {new!r}"
    elif how == "wrap":
        holder[key] = rng.choice(([holder[key]], {"a": holder[key]}, str(holder[key])))
    elif how == "swap":
        other = rng.choice(paths)
        value = tree
        for each in other:
            value = value[each]
        holder[key] = copy.deepcopy(value)
        return f"{dotted} = that of {'.'.join(map(str, other))}"
    elif how == "add" and isinstance(holder[key], dict):
        holder[key][rng.choice(("a", "", "1", *map(str, paths[-1])))] = strange(rng)
    else:
        holder[key] = strange(rng)
    return f"{dotted} = {repr(holder[key])[:80]}"


def damage_text(rng: random.Random, text: str) -> str:
    """Change one to three places of a text."""
    for _ in range(rng.randint(1, 3)):
        lines = text.splitlines(keepends=True) or [""]
        at, line = rng.randrange(len(text) + 1), rng.randrange(len(lines))
        how = rng.randrange(7)
        if how <= 2:
            text = text[:at] + rng.choice(TOKENS) + text[at:]
        elif how == 3:
            text = text[:at] + text[at + rng.randint(1, 20) :]
        elif how == 4:
            text = "".join([*lines[:line], lines[line], *lines[line:]])
        elif how == 5:
            text = "".join([*lines[:line], *lines[line + 1 :]])
        else:
            text = text[:at]
    return text


def damage_bytes(rng: random.Random, raw: bytes) -> bytes:
    """Flip, cut, insert or repeat bytes; often where a format keeps its header or footer."""
    for _ in range(rng.randint(1, 4)):
        at = rng.choice((rng.randrange(len(raw) + 1), rng.randrange(min(16, len(raw)) + 1), max(0, len(raw) - 9)))
        how = rng.randrange(5)
        if how == 0:
            raw = raw[:at] + bytes([rng.randrange(256)]) + raw[at + 1 :]
        elif how == 1:
            raw = raw[:at]
        elif how == 2:
            raw = raw[:at] + rng.randbytes(rng.randint(1, 12)) + raw[at:]
        elif how == 3:
            raw = raw[:at] + raw[at + rng.randint(1, 30) :]
        else:
            raw = raw[:at] + raw[at : at + 40] * rng.randint(2, 4) + raw[at + 40 :]
    return raw
