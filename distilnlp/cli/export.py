"""``distilnlp export``"""

from pathlib import Path
from typing import Annotated

import typer

from distilnlp.cli._options import HeldOut, with_options
from distilnlp.errors import RequestError

__all__ = ["command"]


@with_options(HeldOut)
def command(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Folder of a fine-tuned model (RUN/student), or a Hub id.")
    ],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="The new folder.")],
    options: HeldOut,
    check: Annotated[
        str | None,
        typer.Option(
            metavar="DATA", help="Compare and score on its held-out examples: a task, a file or a Hub data set."
        ),
    ] = None,
    int8: Annotated[bool, typer.Option("--int8", help="Also with weights in 8 bits, where the score holds.")] = False,
    format: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="onnx, or openvino for Intel's processors.")
    ] = "onnx",
    static: Annotated[
        bool,
        typer.Option("--static", help="With --int8 of ONNX: ranges of activations fixed by training texts of DATA."),
    ] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Also with weights in 16 bits, for a GPU.")] = False,
    max_drop: Annotated[
        float, typer.Option(help="By which share of it the score may fall in int8 or fp16; 0.01 is one percent.")
    ] = 0.01,
    processor: Annotated[
        str | None,
        typer.Option(
            help="For which int8 of ONNX is made: vnni, avx2 (also of a browser) or arm64. [default: this one]"
        ),
    ] = None,
    sentence_names: Annotated[
        bool, typer.Option("--sentence-names", help="Name the int8 file as sentence-transformers does.")
    ] = False,
    keep_weights: Annotated[
        bool, typer.Option("--keep-weights", help="Put the weights of torch into the folder too.")
    ] = False,
    opset: Annotated[int | None, typer.Option(help="Version of ONNX's operators. [default: the newest]")] = None,
) -> None:
    """Write a model as ONNX or OpenVINO files, without torch.

    The new folder has the config and the tokenizer at its root, onnx/model.onnx, and with --int8
    onnx/model_quantized.onnx: layers that cost more of the score than --max-drop stay in fp32 there.
    """
    if static and not int8:
        raise RequestError("--static says how --int8 is made: give --int8 too")
    from distilnlp.cli._quiet import quiet_libraries

    quiet_libraries()
    from distilnlp.report.compare import render_table
    from distilnlp.run.export import ExportSettings, export_model

    settings = ExportSettings(
        format=format,
        int8="static" if static else int8,
        fp16=fp16,
        max_drop=max_drop,
        processor=processor,  # type: ignore[arg-type]  # checked there
        sentence_names=sentence_names,
        keep_weights=keep_weights,
        opset=opset,
        max_length=options.max_length,
    )
    task = None if check is None else options.load(model, check)
    made = export_model(model, output, task, settings)
    first = made.files[0].exported
    version = f" of opset {first.opset}" if first and first.opset else ""
    typer.echo(f"{model} is in {made.folder}, as {made.format}{version}")
    typer.echo(render_table(made.report.stages))
