"""The command line itself: exit status, one line an error, nothing heavy for help."""

import errno
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from distilnlp.cli import app, main
from distilnlp.cli import run as run_command
from distilnlp.errors import RunError

COMMANDS = (
    *(
        "quickstart",
        "finetune",
        "distill",
        "run",
        "evaluate",
        "export",
        "search",
        "predict",
        "report",
        "analyse",
        "generate",
        "label",
        "compare",
        "push",
        "convert",
    ),
    *("init", "validate", "tasks", "losses", "recipes", "schema"),
)


def error_of(capsys, *arguments: str) -> tuple[int, str]:
    """The exit status and the only line that is written."""
    status = main(arguments)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("distilnlp: ")
    return status, captured.err


def test_help_names_every_command_in_whole_sentences(capsys):
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    for command in COMMANDS:
        assert f"  {command} " in text
    assert "..." not in text.partition("Commands:")[2]
    assert len(app.registered_commands) == len(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(capsys, command):
    assert main([command, "--help"]) == 0
    assert capsys.readouterr().out.startswith("Usage: distilnlp")


def cpu_seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_is_quick():
    """Half a second is promised. Of the processor's time, as a busy machine lets it wait; the shortest of three."""
    times = []
    for _ in range(3):
        before = cpu_seconds_of_children()
        subprocess.run([sys.executable, "-m", "distilnlp", "--help"], check=True, capture_output=True)
        times.append(cpu_seconds_of_children() - before)
    assert 0 < min(times) < 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("rnu", "No such command 'rnu'"),
        ("run", "Missing argument 'RECIPE'"),
        ("run a b", "unexpected extra argument"),
        ("run mrpc --outptu x", "No such option: --outptu"),
        ("finetune mrpc", "Missing option '--model'"),
        ("finetune mrpc --model x --seed one", "--seed"),
        ("run mprc", "no recipe 'mprc': did you mean 'mrpc'"),
        ("run mrpc --set data.tsak=x", "unknown key 'tsak' in data: did you mean 'task'"),
        ("distill mrpc --teacher x", "give one of --student-layers"),
        ("distill mrpc --teacher x --student y --student-layers 2", "give one of --student-layers"),
        ("distill stsb --teacher x --student y --temperature 2", "--temperature is for classes"),
        ("finetune mrpc --model x --precision high", "error: --precision high: precision is 'high'"),
        ("finetune mrpc --model x --max-length 1", "error: --max-length 1: data.max_length is 1"),
        ("finetune mrpc --model x --epochs 0", "error: --epochs 0: stages.teacher.training.num_train_epochs is 0"),
        ("distill mrpc --teacher x --student y --temperature 0", "error: --temperature 0: "),
        ("distill mrpc --teacher techer --student y --finetune-teacher", "error: --teacher techer: stages.teacher"),
        ("distill mrcp --teacher x --student y", "unknown task 'mrcp': did you mean 'mrpc'"),
        ("predict x", "nothing to classify"),
        ("predict x --text a --output b.xls", "unknown kind of output file '.xls'"),
        ("predict x --text a --text b --text-pair c", "2 --text and 1 --text-pair"),
        ("losses soft_targt", "unknown loss 'soft_targt': did you mean 'soft_target'"),
        ("compare nowhere", "'nowhere' is not a folder"),
        ("validate mprc", "no recipe 'mprc'"),
        ("evaluate /nowhere mrcp", "there is no model folder /nowhere"),
    ],
)
def test_a_wrong_request_is_one_line_and_exit_2(capsys, arguments, message):
    status, line = error_of(capsys, *arguments.split())
    assert status == 2
    assert line.startswith("distilnlp: error: ")
    assert message in line


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (RunError("the loss term x\nis not a number"), 1, "error: the loss term x is not a number"),
        (OSError(errno.ENOSPC, "No space left on device", "/some/file"), 1, "the disk is full"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), 1, "the disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "runs"), 1, "Permission denied"),
        (KeyError("x"), 1, "unexpected KeyError: 'x' (set DISTILNLP_DEBUG=1 for the traceback)"),
        (KeyboardInterrupt(), 130, "interrupted; the same command goes on from what it has kept"),
    ],
)
def test_a_failure_is_one_line_with_its_exit_status(capsys, monkeypatch, error, status, message):
    def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(run_command, "start", fail)
    got, line = error_of(capsys, "run", "mrpc")
    assert got == status
    assert message in line


def test_a_full_disk_is_found_behind_another_error(capsys, monkeypatch):
    def fail(*_args, **_kwargs):
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RuntimeError("cannot save") from error

    monkeypatch.setattr(run_command, "start", fail)
    assert "the disk is full" in error_of(capsys, "run", "mrpc")[1]


def test_the_traceback_is_there_on_request(monkeypatch):
    def fail(*_args, **_kwargs):
        raise KeyError("x")

    monkeypatch.setattr(run_command, "start", fail)
    monkeypatch.setenv("DISTILNLP_DEBUG", "1")
    with pytest.raises(KeyError):
        main(["run", "mrpc"])


def test_a_reader_that_leaves_is_no_error():
    command = f"{sys.executable} -m distilnlp losses soft_target | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "soft_target(temperature: float = 2.0, class_weights: ClassWeights | None = None)",
        "0",
    ]
    assert done.stderr == ""


RUN_THAT_WAITS = """
import signal, sys, time

# A process that was started under nohup, or behind a shell's &, ignores them.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

from distilnlp.cli import main, run
from distilnlp.data.temporary import new_folder

def wait(*args, **kwargs):
    print(new_folder(), flush=True)
    time.sleep(60)

run.start = wait
sys.exit(main(["run", "mrpc"]))
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)])
def test_a_process_that_is_asked_to_end_leaves_one_line_and_no_files(tmp_path, number, status):
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", RUN_THAT_WAITS], env=env, text=True, **pipes) as process:
        assert Path(process.stdout.readline().strip()).is_dir()
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == status
    assert errors.count("\n") == 1
    assert "goes on from what it has kept: finished stages and checkpoints" in errors
    assert list(tmp_path.iterdir()) == []


def test_signals_that_somebody_ignores_or_handles_are_left_to_them(monkeypatch):
    """As nohup ignores SIGHUP."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    seen = []
    monkeypatch.setattr(run_command, "start", lambda *_, **__: seen.append(signal.getsignal(signal.SIGHUP)))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        main(["run", "mrpc"])
    finally:
        signal.signal(signal.SIGHUP, before[signal.SIGHUP])
    assert seen == [signal.SIG_IGN]
    assert {number: signal.getsignal(number) for number in before} == before


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("distilnlp qui", ["quickstart"]),
        ("distilnlp run glue/mr", ["glue/mrpc"]),
        ("distilnlp distill mr", ["mrpc"]),
        ("distilnlp losses margin", ["margin_mse"]),
        ("distilnlp distill mrpc --student-l", ["--student-layers"]),
        ("distilnlp evaluate RUN/student mrpc --exit-thresholds 0,0.0", ["0,0.05"]),
        ("distilnlp predict RUN/student --exit-threshold 0.3", ["0.3"]),
        ("distilnlp run schemes/route --stages an", ["anchor-1", "anchor-2"]),
        ("distilnlp run schemes/route --stages teacher,anchor-1..st", ["teacher,anchor-1..student"]),
        ("distilnlp run no-such-recipe --stages an", []),
    ],
)
def test_a_shell_completes_commands_options_and_what_is_known_by_name(
    words: str, found: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_DISTILNLP_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    assert main([]) == 0
    captured = capsys.readouterr()
    assert (captured.out.split(), captured.err) == (found, "")
