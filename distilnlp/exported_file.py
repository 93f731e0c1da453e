"""The formats of exported models, each as one object: where its files lie, what they are called, how they are read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from distilnlp import onnx_file, openvino_file

__all__ = [
    "FILES",
    "LOGITS",
    "ONNX",
    "OPENVINO",
    "SPAN",
    "STATES",
    "VECTORS",
    "FileFormat",
    "exported_files",
    "file_format_of",
    "files_of",
    "is_exported_name",
]

# How the answers of an exported model are called, by those who export and those who ask.
LOGITS, SPAN, STATES, VECTORS = "logits", ("start_logits", "end_logits"), "last_hidden_state", "sentence_embedding"


@dataclass(frozen=True)
class FileFormat:
    """A format of exported models.

    Args:
        name: by which a user asks for it, and that of the folder that its files lie in.
        title: as people write it.
        suffix: of the file that a model is named by.
        names: of such files, in the order in which one is taken for the model.
        beside: what else a model is made of, by that file.
        check: raises RequestError where a file is none of the format, or does not stand for itself.
        words_of: all of a file but the numbers of its weights: names, notes, texts.
        usage: how a file is asked in Python: the import, the opening of ``{place}``, the questions.
    """

    name: str
    title: str
    suffix: str
    names: tuple[str, ...]
    beside: Callable[[Path], tuple[Path, ...]]
    check: Callable[[Path], object]
    words_of: Callable[[Path], bytes]
    usage: tuple[str, str, str]

    @property
    def published(self) -> frozenset[str]:
        """The names that its files may have in its folder."""
        return frozenset(each.name for name in self.names for each in files_of(Path(self.name, name)))


ONNX = FileFormat(
    name=onnx_file.FOLDER,
    title="ONNX",
    suffix=".onnx",
    names=onnx_file.NAMES,
    beside=lambda path: (),
    check=onnx_file.read_onnx,
    words_of=onnx_file.words_of,
    usage=(
        "import onnxruntime",
        "session = onnxruntime.InferenceSession({place})",
        "outputs = session.run(None, {each.name: inputs[each.name] for each in session.get_inputs()})\n"
        "print(dict(zip([each.name for each in session.get_outputs()], outputs)))",
    ),
)
OPENVINO = FileFormat(
    name=openvino_file.FOLDER,
    title="OpenVINO",
    suffix=".xml",
    names=openvino_file.NAMES,
    beside=lambda path: (openvino_file.weights_beside(path),),
    check=openvino_file.read_ir,
    words_of=lambda path: openvino_file.read_ir(path).text,
    usage=(
        "import openvino",
        'model = openvino.compile_model({place}, "CPU")',
        "outputs = model({each.any_name: inputs[each.any_name] for each in model.inputs})\n"
        "print({each.any_name: outputs[each] for each in model.outputs})",
    ),
)
# In the order in which a folder that has several stands for one of them.
FILES: tuple[FileFormat, ...] = (ONNX, OPENVINO)


def file_format_of(path: Path) -> FileFormat | None:
    """The format that a file's name says it is of; None of any other file."""
    return next((each for each in FILES if path.suffix == each.suffix), None)


def files_of(path: Path) -> tuple[Path, ...]:
    """All files of an exported model, by the one that it is named by, which comes first."""
    found = file_format_of(path)
    return (path,) if found is None else (path, *found.beside(path))


def exported_files(folder: Path) -> list[Path]:
    """The files that the exported models in a folder are named by, the one that stands for it first."""
    return [
        folder / each.name / name for each in FILES for name in each.names if (folder / each.name / name).is_file()
    ]


def is_exported_name(folder: str, file: str) -> bool:
    """Whether a file of an exported model may have this name in a folder of this name."""
    return any(folder == each.name and file in each.published for each in FILES)
