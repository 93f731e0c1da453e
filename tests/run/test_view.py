"""What is seen of a run: one view on a terminal that leaves a clean log, lines elsewhere, nothing if that is said."""

import io
import os
import pty
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

import pytest

from distilnlp.errors import RequestError
from distilnlp.progress import doing, watched_by, watcher
from distilnlp.run.view import VARIABLE, LiveView, NotebookView, PlainView, viewing

ROOT = Path(__file__).parents[2]
ESCAPE = "\x1b"
RUN = """
    import sys, time
    from distilnlp.cli._output import say
    from distilnlp.progress import doing, watcher
    from distilnlp.run.view import viewing

    with viewing():
        say("task mrpc, precision fp32")
        watcher().show(lambda: ["student: step 3 of 9 (33 %), 4 s left, 1,234 tokens/s", "  loss 0.5 = a 0.2 + b 0.3"])
        watcher().tell("student: step 3 of 9 (33 %)")
        with doing("tokenising 10 examples", 10) as advance:
            advance(5)
            time.sleep(0.7)
            print("a warning of " + 200 * "x", file=sys.stderr)
            time.sleep(0.7)
            say("teacher: accuracy 0.5")
            time.sleep(0.7)
    say("run runs/mrpc")
"""


def on_a_terminal(script: str, *, piped: bool, **variables: str) -> tuple[str, str]:
    """What a script writes on a terminal of 80 columns; and on its standard output, where that is a pipe."""
    controller, terminal = pty.openpty()
    env = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "80", "TERM": "xterm", **variables}
    env.pop("CI", None) if "CI" not in variables else None
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=terminal,
        stdout=subprocess.PIPE if piped else terminal,
        stderr=terminal,
        env=env,
    )
    os.close(terminal)
    seen = b""
    while True:
        try:
            part = os.read(controller, 65536)
        except OSError:  # the last one has closed it
            break
        if not part:
            break
        seen += part
    out, _ = process.communicate()
    assert process.returncode == 0, seen
    os.close(controller)
    return seen.decode(), (out or b"").decode()


def left_on(screen: str) -> list[str]:
    """The lines that a terminal shows in the end: what moves the cursor up and erases lines is followed."""
    lines, row, column = [""], 0, 0
    for sign in re.finditer(r"\x1b\[(\??[\d;]*)([A-Za-z])|(\r)|(\n)|([^\x1b])", screen):
        number, command, back, new, letter = sign.groups()
        if letter:
            lines[row] = lines[row][:column].ljust(column) + letter + lines[row][column + 1 :]
            column += 1
        elif back:
            column = 0
        elif new:
            row += 1
            lines += [""] * (row - len(lines) + 1)
        elif command == "A":
            row = max(0, row - int(number or 1))
        elif command == "K":
            lines[row] = "" if number == "2" else lines[row][:column]
    return [line.rstrip() for line in lines]


@pytest.mark.slow
def test_a_terminal_has_one_view_and_is_left_as_if_there_had_been_none() -> None:
    seen, _ = on_a_terminal(RUN, piped=False)
    assert "4 s left, 1,234 tokens/s" in seen
    assert "loss 0.5 = a 0.2 + b 0.3" in seen
    assert "tokenising 10 examples: 50%" in seen
    left = "\n".join(line for line in left_on(seen) if line)
    assert left == f"task mrpc, precision fp32\na warning of {200 * 'x'}\nteacher: accuracy 0.5\nrun runs/mrpc"


@pytest.mark.slow
def test_what_is_piped_has_no_sign_of_the_view_and_all_of_the_log() -> None:
    seen, out = on_a_terminal(RUN, piped=True)
    assert out == "task mrpc, precision fp32\nteacher: accuracy 0.5\nrun runs/mrpc\n"
    assert "4 s left" in seen  # the standard error is still a terminal


@pytest.mark.slow
def test_lines_alone_where_a_ci_has_a_terminal() -> None:
    seen, _ = on_a_terminal(RUN, piped=False, CI="true")
    assert ESCAPE not in seen
    assert "student: step 3 of 9 (33 %)" in seen
    assert "tokens/s" not in seen


@pytest.mark.parametrize(
    ("variables", "terminal", "chosen"),
    [
        ({}, True, LiveView),
        ({}, False, PlainView),
        ({"CI": "true"}, True, PlainView),
        ({"TERM": "dumb"}, True, PlainView),
        ({VARIABLE: "plain"}, True, PlainView),
        ({VARIABLE: "off"}, True, None),
        ({VARIABLE: ""}, False, PlainView),
    ],
)
def test_who_looks_and_what_is_wanted_decide_what_is_shown(
    variables: dict[str, str], terminal: bool, chosen: type | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    monkeypatch.setattr("sys.stderr", Stream())
    # Imported by another library, as much as a kernel would: neither makes a notebook.
    for name in ("ipykernel", "IPython"):
        monkeypatch.setitem(sys.modules, name, SimpleNamespace(get_ipython=lambda: None))
    for name, value in {"CI": "", "TERM": "xterm", VARIABLE: "auto", **variables}.items():
        monkeypatch.setenv(name, value)
    before = watcher()
    with viewing():
        assert watcher() is before if chosen is None else type(watcher()) is chosen


def test_a_kernel_makes_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    shell = SimpleNamespace(kernel=object())
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setenv(VARIABLE, "auto")
    with viewing():
        assert type(watcher()) is NotebookView


def test_another_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "of")
    with pytest.raises(RequestError, match=r"DISTILNLP_PROGRESS.*did you mean 'off'"), viewing():
        pass


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_lines_tell_what_takes_long_once_and_then_every_minute() -> None:
    clock, stream = Clock(), io.StringIO()
    view = PlainView(clock, stream)
    with watched_by(view):
        with doing("loading the data"):
            clock.now += 3
            view.look()
        with doing("measuring"):
            with doing("tokenising 40 examples", 40) as advance:
                clock.now += 6
                view.look()
                view.look()
                advance(10)
                clock.now += 54
                view.look()
                clock.now += 6
                view.look()
            view.look()
        view.look()
    assert stream.getvalue().splitlines() == [
        "measuring, tokenising 40 examples, 6 s so far",
        "measuring, tokenising 40 examples: 25%, 3 min 18 s left",
        "measuring, 1 min 6 s so far",
    ]


def test_the_lines_come_by_themselves() -> None:
    stream = io.StringIO()
    view = PlainView(stream=stream, silent=0.01)
    view.open()
    with watched_by(view), doing("loading the data"):
        for _ in range(500):
            if stream.getvalue():
                break
            view._stop.wait(0.01)
    view.close()
    assert stream.getvalue().startswith("loading the data, 0 s so far")


def test_a_failure_takes_the_view_away() -> None:
    before = watcher()
    seen = []

    def breaks() -> None:
        with viewing(), viewing(), doing("loading"):
            seen.append(watcher())
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        breaks()
    assert seen != [before]
    assert watcher() is before


def test_a_notebook_has_lines_that_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    display = pytest.importorskip("IPython.display")
    shown: list[str] = []

    class Handle:
        def update(self, what: object) -> None:
            shown.append(repr(what))

    def first(what: object, display_id: bool) -> Handle:
        assert display_id
        shown.append(repr(what))
        return Handle()

    monkeypatch.setattr(display, "display", first)
    clock = Clock()
    view = NotebookView(clock)
    clock.now = 10.0
    view.show(lambda: ["student: step 1 of 2"])
    view.begin("measuring", None)  # too soon to be drawn
    clock.now = 11.0
    view.advance(0)
    view.close()
    assert shown[:2] == ["student: step 1 of 2", "student: step 1 of 2\nmeasuring, 1 s so far"]


def test_a_view_is_no_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line that were broken could not be taken away again."""
    monkeypatch.setenv("COLUMNS", "40")
    view = LiveView()
    view.show(lambda: [100 * "y"])
    with view._console.capture() as capture:
        view._console.print(view._render())
    assert capture.get() == f"{39 * 'y'}\u2026\n"


def test_outside_of_a_run_nothing_is_shown_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with doing("answering 4 texts", 4) as advance, doing("tokenising"):
        advance(4)
    assert capsys.readouterr() == ("", "")
