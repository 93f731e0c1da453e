"""``distilnlp export``"""

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["command"]


def command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Folder of a fine-tuned model (RUN/student), or a Hub id.")
    ],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="The new folder.")],
    opset: Annotated[int | None, typer.Option(help="Version of ONNX's operators. [default: the newest]")] = None,
    max_length: Annotated[
        int | None, typer.Option(min=3, help="Cut texts to so many tokens. [default: what the model takes, up to 512]")
    ] = None,
) -> None:
    """Write a model as ONNX files, which run without torch.

    The new folder has the config and the tokenizer at its root, and onnx/model.onnx.
    """
    from distilnlp.cli._quiet import quiet_libraries

    quiet_libraries()
    from distilnlp.run.export import ExportSettings, export_model

    made = export_model(model, output, None, ExportSettings(opset=opset, max_length=max_length))
    typer.echo(
        f"{model} is in {made.folder}, as ONNX of opset {made.opset}: its logits differ by {made.difference:.1e} at "
        f"most, on {made.compared} texts"
    )
