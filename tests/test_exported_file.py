"""The formats of exported models, told apart by where their files lie and what they are called."""

from pathlib import Path

from distilnlp.exported_file import FILES, ONNX, OPENVINO, exported_files, file_format_of, files_of, is_exported_name


def test_a_file_is_of_a_format_by_its_name() -> None:
    found = [file_format_of(Path(name)) for name in ("a/model.onnx", "a/openvino_model.xml", "a/model.bin", "a")]
    assert found == [ONNX, OPENVINO, None, None]
    assert files_of(Path("a/model.onnx")) == (Path("a/model.onnx"),)
    assert files_of(Path("a/model.xml")) == (Path("a/model.xml"), Path("a/model.bin"))


def test_files_are_found_in_the_folders_of_their_formats_alone(tmp_path: Path) -> None:
    assert exported_files(tmp_path) == []
    names = ("openvino_model.xml", "openvino_model.bin", "openvino_model_qint8_quantized.xml", "model.onnx")
    for folder in ("openvino", "onnx", "."):
        for name in names:
            (tmp_path / folder).mkdir(exist_ok=True)
            (tmp_path / folder / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in exported_files(tmp_path)]
    assert found == ["onnx/model.onnx", "openvino/openvino_model_qint8_quantized.xml", "openvino/openvino_model.xml"]


def test_only_files_of_a_format_have_their_names_in_its_folder() -> None:
    assert is_exported_name("openvino", "openvino_model.bin")
    assert is_exported_name("openvino", "openvino_model_qint8_quantized.xml")
    others = [("onnx", "openvino_model.bin"), ("", "openvino_model.xml"), ("openvino", "model.bin"), ("onnx", "a.bin")]
    assert not any(is_exported_name(*each) for each in others)
    assert len({each.name for each in FILES}) == len(FILES)
