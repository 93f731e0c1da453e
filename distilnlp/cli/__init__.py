"""The command line. Nothing heavy is imported here or in the commands' modules, only inside the commands' bodies."""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from distilnlp.cli import (
    analyse,
    compare,
    convert,
    distill,
    evaluate,
    export,
    finetune,
    generate,
    init,
    label,
    losses,
    predict,
    push,
    quickstart,
    recipes,
    report,
    run,
    schema,
    search,
    tasks,
    validate,
)
from distilnlp.cli._errors import GOES_ON, explain
from distilnlp.cli._habits import HabitCommand
from distilnlp.cli._launch import check_launched
from distilnlp.cli._signals import stopping_cleanly

__all__ = ["app", "main"]

_EPILOG = "Exit status: 0 done, 1 the run failed, 2 the request was wrong. DISTILNLP_DEBUG=1 shows tracebacks."

app = typer.Typer(
    name="distilnlp",
    help="Fine-tune an encoder, distil it into a smaller one, compare the two, publish the result.",
    epilog=_EPILOG,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _show_version(value: bool) -> None:
    if value:
        from importlib.metadata import version

        typer.echo(version("distilnlp"))
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    pass


for _module in (
    quickstart,
    finetune,
    distill,
    search,
    generate,
    init,
    label,
    run,
    evaluate,
    predict,
    report,
    analyse,
    compare,
    push,
    convert,
    export,
    validate,
    tasks,
    losses,
    recipes,
    schema,
):
    app.command(_module.__name__.rpartition(".")[2], cls=HabitCommand)(_module.command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status; errors become one line on the standard error.

    Args:
        arguments: without the program's name; default: those of the process.
    """
    try:
        with stopping_cleanly():
            check_launched()
            status = app(args=arguments, prog_name="distilnlp", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader left (`| head`); Python would complain when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except BaseException as error:
        if isinstance(error, SystemExit) and _is_about_completion(arguments):  # a shell has its answer
            return error.code if isinstance(error.code, int) else int(error.code is not None)
        if os.environ.get("DISTILNLP_DEBUG") == "1":
            raise
        status, line = explain(error)
        print(line, file=sys.stderr)
    else:
        if status == 130:  # Typer turns Ctrl-C into this
            print(f"distilnlp: interrupted; {GOES_ON}", file=sys.stderr)
    return status if isinstance(status, int) else 0


def _is_about_completion(arguments: Sequence[str] | None) -> bool:
    """Whether Typer answers a shell, or sets it up: it leaves with SystemExit then, whatever it was asked."""
    options = {"--install-completion", "--show-completion"}
    return "_DISTILNLP_COMPLETE" in os.environ or bool(options & {*(sys.argv[1:] if arguments is None else arguments)})
