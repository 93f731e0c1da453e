"""Headless Chromium, driven through a pipe by its DevTools protocol: no driver and no port."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Browser", "Page", "browser", "chromium"]

FLAGS = [
    "--headless",
    "--no-sandbox",  # root has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
]


def chromium() -> str | None:
    """Where Chromium is, or None."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


class Browser:
    """What is said to the browser, and what it answers: JSON, each message ended by a zero byte."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back = os.fdopen(to, "wb", buffering=0), os.fdopen(back, "rb")
        self._sent, self._rest = 0, b""
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        self._sent += 1
        message = {"id": self._sent, "method": method, "params": params}
        self._to.write(json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while True:
            found = self._read()
            if found.get("id") == self._sent:
                assert "error" not in found, found["error"]
                return found["result"]
            self.events.append(found)

    def wait_for(self, method: str) -> None:
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self._read())

    def close(self) -> None:
        self._to.close()
        self._back.close()

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = self._back.read1()
            assert part, "the browser has ended"
            self._rest += part
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)


class Page:
    """A page that is open in the browser.

    Attributes:
        said: errors and warnings on its console.
        requests: the addresses that it asked for.
    """

    def __init__(self, browser: Browser, path: Path, scripts: bool = True) -> None:
        self._browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        if not scripts:
            self._call("Emulation.setScriptExecutionDisabled", value=True)
        browser.events.clear()
        self._call("Page.navigate", url=path.as_uri())
        browser.wait_for("Page.loadEventFired")
        self.value("1")  # whatever the page has said by now comes before this answer

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **params)

    @property
    def said(self) -> list[str]:
        events = self._browser.events
        logged = [event["params"]["entry"]["text"] for event in events if event["method"] == "Log.entryAdded"]
        console = [str(event["params"]["args"]) for event in events if event["method"] == "Runtime.consoleAPICalled"]
        thrown = [str(event["params"]) for event in events if event["method"] == "Runtime.exceptionThrown"]
        return [*logged, *console, *thrown]

    @property
    def requests(self) -> list[str]:
        sent = [event for event in self._browser.events if event["method"] == "Network.requestWillBeSent"]
        return [event["params"]["request"]["url"] for event in sent]

    def value(self, expression: str) -> Any:
        """What a piece of JavaScript gives."""
        found = self._call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def look(self, width: int, dark: bool = False, medium: str = "screen") -> None:
        """Show the page in a window of so many pixels, in light or dark, on a screen or on paper (``print``)."""
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", media=medium, features=[scheme])

    def pdf(self) -> bytes:
        """The page as it is printed, in the size that it asks for."""
        import base64

        return base64.b64decode(self._call("Page.printToPDF", preferCSSPageSize=True)["data"])


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser of its own; ``profile``: an empty folder."""
    read, to = os.pipe()
    back, write = os.pipe()
    command = f'exec "$0" "$@" 3<&{read} 4>&{write}'
    process = subprocess.Popen(
        ["bash", "-c", command, str(chromium()), *FLAGS, f"--user-data-dir={profile}", "about:blank"],
        pass_fds=(read, write),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(read)
    os.close(write)
    made = Browser(to, back)
    try:
        yield made
    finally:
        made.call("Browser.close")
        process.wait(timeout=30)
        made.close()
