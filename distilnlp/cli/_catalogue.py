"""The losses as their source describes them: importing them takes seconds, for torch comes with them."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distilnlp.citation import Citation, source_section, with_settings

__all__ = ["LossEntry", "shipped_losses"]

_SOURCES = Path(__file__).parents[1] / "losses"


@dataclass(frozen=True)
class LossEntry:
    """A loss: its settings as they are written, ``(temperature: float = 2.0)``, their defaults, and its docstring."""

    signature: str
    defaults: dict[str, Any]
    doc: str


def shipped_losses() -> dict[str, LossEntry]:
    """The losses of the package by their registered names, sorted."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in sorted(_SOURCES.rglob("*.py"))]
    classes = {node.name: node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}
    found = {}
    for node in classes.values():
        for name in _registered(node):
            found_fields = {key: field for key, field in _fields(node, classes).items() if _is_setting(field)}
            fields = dict(sorted(found_fields.items(), key=lambda each: _is_shared(each[1])))
            values = {key: _default(field) for key, field in fields.items()}
            settings = ", ".join(
                f"{ast.unparse(field.target)}: {ast.unparse(field.annotation)}"
                + (f" = {ast.unparse(value)}" if (value := values[key]) is not None else "")
                for key, field in fields.items()
            )
            defaults = {key: ast.literal_eval(value) for key, value in values.items() if value is not None}
            source = source_section(_citations(node, classes), _uncited(node, classes))
            shared = [key for key, field in fields.items() if _is_shared(field)]
            own = with_settings(ast.get_docstring(node) or "", list(_docs_of_bases(node, classes)), shared)
            doc = "\n".join(filter(None, (own, source)))
            found[name] = LossEntry(f"({settings})", defaults, doc)
    return dict(sorted(found.items()))


def _registered(node: ast.ClassDef) -> Iterator[str]:
    """The name under which ``@register_loss("name")`` puts a class."""
    for call in node.decorator_list:
        if isinstance(call, ast.Call) and ast.unparse(call.func) == "register_loss":
            yield ast.literal_eval(call.args[0])


def _fields(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> dict[str, ast.AnnAssign]:
    """What the dataclass takes, what it inherits first, as `dataclasses` orders it."""
    fields: dict[str, ast.AnnAssign] = {}
    for base in map(ast.unparse, node.bases):
        fields |= _fields(classes[base], classes) if base in classes else {}
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and not ast.unparse(line.annotation).startswith("ClassVar"):
            fields[ast.unparse(line.target)] = line
    return fields


def _citations(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> list[Citation]:
    value = _class_attribute(node, classes, "citations")
    calls = [each for each in value.elts if isinstance(each, ast.Call)] if isinstance(value, ast.Tuple) else []
    return [
        Citation(
            *map(ast.literal_eval, call.args),
            **{str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords},
        )
        for call in calls
    ]


def _uncited(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> str:
    value = _class_attribute(node, classes, "uncited")
    return "" if value is None else ast.literal_eval(value)


def _class_attribute(node: ast.ClassDef, classes: dict[str, ast.ClassDef], name: str) -> ast.expr | None:
    """What a class sets ``name`` to, else the first of its bases that does."""
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and ast.unparse(line.target) == name:
            return line.value
    bases = [classes[base] for base in map(ast.unparse, node.bases) if base in classes]
    return next(filter(None, (_class_attribute(base, classes, name) for base in bases)), None)


def _is_shared(field: ast.AnnAssign) -> bool:
    """Whether it can be given by name only, as what a base has for many losses."""
    return isinstance(field.value, ast.Call) and any(each.arg == "kw_only" for each in field.value.keywords)


def _docs_of_bases(node: ast.ClassDef, classes: dict[str, ast.ClassDef]) -> Iterator[str]:
    bases = [classes[base] for base in map(ast.unparse, node.bases) if base in classes]
    yield from (ast.get_docstring(base) or "" for base in bases)
    for base in bases:
        yield from _docs_of_bases(base, classes)


def _default(field: ast.AnnAssign) -> ast.expr | None:
    """What stands behind the sign, or in ``field(default=...)``."""
    if not isinstance(field.value, ast.Call):
        return field.value
    return next((each.value for each in field.value.keywords if each.arg == "default"), None)


def _is_setting(field: ast.AnnAssign) -> bool:
    """False for ``field(init=False)``, which the loss decides itself."""
    keywords = field.value.keywords if isinstance(field.value, ast.Call) else []
    return not any(each.arg == "init" and ast.unparse(each.value) == "False" for each in keywords)
