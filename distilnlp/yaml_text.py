"""YAML as recipes are written in it: plain values by the rules of YAML 1.2, each with its line; no tags, no code."""

import re
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from distilnlp.errors import RequestError

__all__ = ["MOST_LEVELS", "Path_", "read_yaml", "write_yaml"]

Path_ = tuple[str | int, ...]

# A recipe has about a hundred values, six levels and four kilobytes; aliases of aliases can multiply to any number.
_MOST_VALUES, MOST_LEVELS, _MOST_CHARACTERS = 10_000, 50, 1_000_000
_STR, _MERGE, _MAP, _SEQ, _NULL, _BOOL, _INT, _FLOAT = (
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "merge", "map", "seq", "null", "bool", "int", "float")
)
# The core schema of YAML 1.2 (10.3.2), and `<<` of 1.1: `no` is a word, `5e-5` a number, 010 is ten, 1:30 is text.
_SCALARS: dict[str, tuple[str, list[str]]] = {
    _NULL: (r"(?:null|Null|NULL|~|)", ["n", "N", "~", ""]),
    _BOOL: (r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    _INT: (r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)", list("-+0123456789")),
    _FLOAT: (
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))",
        list("-+.0123456789"),
    ),
    _MERGE: (r"<<", ["<"]),
}
_MATCHES = {tag: re.compile(rf"{pattern}\Z") for tag, (pattern, _) in _SCALARS.items()}


class _Loader(Reader, Scanner, Parser, Composer, BaseResolver):
    """Text to nodes; it has no constructor, so there is nothing that could make an object of a tag."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)
        self.level = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """As inherited, and it stops before Python's stack does."""
        self.level += 1
        if self.level > MOST_LEVELS:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(problem=f"more than {MOST_LEVELS} levels", problem_mark=mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.level -= 1
        return node


class _Dumper(yaml.SafeDumper):
    """Puts quotes around what either version of YAML would not take for text."""

    def represent_text(self, text: str) -> yaml.Node:
        """With escapes where there are line breaks of Unicode: written as they are, they would be read as blanks."""
        style = '"' if re.search("[\x85\u2028\u2029\ufeff]", text) else None
        node: yaml.Node = self.represent_scalar(_STR, text, style=style)
        return node


_Dumper.add_representer(str, _Dumper.represent_text)


for _tag, (_, _first) in _SCALARS.items():
    _Loader.add_implicit_resolver(_tag, _MATCHES[_tag], _first)
    _Dumper.add_implicit_resolver(_tag, _MATCHES[_tag], _first)


def read_yaml(text: str, name: str, at: Path_ = ()) -> tuple[Any, dict[Path_, str]]:
    """The value that a text holds (None where it is empty), and the place of each value in it (``mrpc.yaml line 7``).

    Args:
        text: of one document, of text, numbers, true, false, null, lists, and mappings with keys of text.
        name: what its lines are cited as.
        at: the path that the value gets.
    Raises:
        RequestError: it is not YAML, too large or nested too deeply; a key that stands twice or is no text; a tag.
    """
    reader = _Reader(name)
    node = _compose(text, name)
    return (None if node is None else reader.read(node, at)), reader.places


def write_yaml(values: Any, width: int = 119) -> str:
    """Plain values as YAML that `read_yaml`, and a reader of YAML 1.1, give back as they were."""
    text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=width)
    return text


def _compose(text: str, name: str) -> yaml.Node | None:
    if len(text) > _MOST_CHARACTERS:
        raise RequestError(f"{name}: {len(text)} characters, and a recipe has at most {_MOST_CHARACTERS}")
    try:
        loader = _Loader(text)
        node: yaml.Node | None = loader.get_single_node()
    except yaml.reader.ReaderError as error:
        number = text.count("\n", 0, error.position) + 1
        problem = f"the character {error.character:#x} cannot stand in it"
        raise RequestError(f"{name} line {number}: not valid YAML: {problem}") from error
    except yaml.MarkedYAMLError as error:
        line = f" line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise RequestError(f"{name}{line}: not valid YAML: {' '.join(str(error.problem).split())}") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # as of the escape "\UFFFFFFFF"
        raise RequestError(f"{name}: not valid YAML: {' '.join(str(error).split())}") from error
    return node


class _Reader:
    """Turns nodes into plain values and notes the line of each."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.places: dict[Path_, str] = {}
        self.count = 0

    def read(self, node: yaml.Node, path: Path_) -> Any:
        self._count(node, len(path))
        self.places.setdefault(path, self._line(node))
        if isinstance(node, yaml.MappingNode) and node.tag == _MAP:
            values = {}
            for key, (key_node, value) in self._pairs(node, 0).items():
                self.places[(*path, key)] = self._line(key_node)
                values[key] = self.read(value, (*path, key))
            return values
        if isinstance(node, yaml.SequenceNode) and node.tag == _SEQ:
            return [self.read(item, (*path, i)) for i, item in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        raise self._no_value(node)

    def _scalar(self, node: yaml.ScalarNode) -> str | int | float | bool | None:
        text = str(node.value)
        if node.tag == _STR:
            return text
        if node.tag not in _MATCHES or not _MATCHES[node.tag].match(text):
            raise self._no_value(node)
        try:
            if node.tag == _INT:
                return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
            if node.tag == _FLOAT:
                return float(text.replace(".inf", "inf").replace(".nan", "nan") if text[-1].isalpha() else text)
        except ValueError:  # Python reads no more than 4,300 digits
            raise RequestError(f"{self._line(node)}: a number of {len(text)} digits; write a smaller one") from None
        return text in ("true", "True", "TRUE") if node.tag == _BOOL else None if node.tag == _NULL else text

    def _pairs(self, node: yaml.MappingNode, level: int) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        """Key -> its node and its value's; what `<<` brings comes first, and gives way to the mapping's own keys."""
        self._count(node, level)
        own: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        merged: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for key_node, value in node.value:
            key = self._key(key_node)
            if key in own:
                first = self._line(own[key][0])
                raise RequestError(f"{self._line(key_node)}: key '{key}' stands twice; the first is at {first}")
            own[key] = (key_node, value)
            if key_node.tag == _MERGE:
                for base in reversed(self._bases(value)):
                    merged.update(self._pairs(base, level + 1))
        return {key: value for key, value in {**merged, **own}.items() if value[0].tag != _MERGE}

    def _bases(self, node: yaml.Node) -> list[yaml.MappingNode]:
        bases = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if not all(isinstance(base, yaml.MappingNode) and base.tag == _MAP for base in bases):
            raise RequestError(f"{self._line(node)}: '<<' takes the keys of a mapping, or of a list of mappings")
        return list(bases)

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode) or node.tag not in (_STR, _MERGE):
            raise RequestError(f"{self._line(node)}: a key should be a word; put quotes around it")
        return str(node.value)

    def _count(self, node: yaml.Node, level: int) -> None:
        self.count += 1
        if self.count > _MOST_VALUES or level > MOST_LEVELS:
            raise RequestError(f"{self._line(node)}: more than {_MOST_VALUES} values, or an alias that holds itself")

    def _no_value(self, node: yaml.Node) -> RequestError:
        kinds = "only text, numbers, true, false, null, lists and keys can stand in a recipe"
        return RequestError(f"{self._line(node)}: {kinds}")

    def _line(self, node: yaml.Node) -> str:
        return f"{self.name} line {node.start_mark.line + 1}"
