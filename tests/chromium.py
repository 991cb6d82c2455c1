"""A headless Chromium for tests of pages: what it measures, what it complains of, what it shows.

    with Browser(executable()) as browser:
        browser.open(page, width=390)
        assert browser.value("document.documentElement.scrollWidth") <= 390
        assert browser.complaints == []

It is spoken to by the DevTools protocol over two pipes, so that a page may forbid all scripts and still be asked.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Self

SECONDS = 300.0  # for an answer, on a machine whose cores are busy
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@cache
def executable() -> str:
    """A Chromium on PATH, or Debian's, which is installed then; else a text with a space: why there is none."""
    if found := next(filter(None, map(shutil.which, NAMES)), None):
        return found
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return "there is no chromium, and installing one takes root and Debian's apt-get"
    subprocess.run(["apt-get", "-qq", "update"], capture_output=True, check=False)  # what is cached may do
    command = ["apt-get", "-qq", "install", "-y", "--no-install-recommends", "chromium"]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return shutil.which("chromium") or f"chromium cannot be installed: {done.stderr.strip().splitlines()[-1:]}"


class Browser:
    """One page at a time. `complaints`: errors, warnings and blocked requests since it was opened."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.complaints: list[str] = []
        self._events: list[str] = []
        self._numbers = 0
        self._read = b""
        self._session = ""

    def __enter__(self) -> Self:
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        for_it, self._commands = os.pipe()
        self._answers, from_it = os.pipe()
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe"]
        command = [self.program, *options, f"--user-data-dir={self.folder.name}", "about:blank"]
        # It reads from 3 and writes to 4; sh knows no numbers above 9.
        shell = ["bash", "-c", f'exec "$@" 3<&{for_it} 4>&{from_it}', "bash", *command]
        devnull = subprocess.DEVNULL
        self.process = subprocess.Popen(shell, pass_fds=(for_it, from_it), stdout=devnull, stderr=devnull)
        os.close(for_it)
        os.close(from_it)
        target = self._until(
            lambda: [one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page"]
        )
        attached = self.call("Target.attachToTarget", targetId=target[0]["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()
        os.close(self._commands)
        os.close(self._answers)
        self.folder.cleanup()

    def open(self, page: Path, *, width: int, height: int = 900, dark: bool = False) -> None:
        """Load a file in a window of so many pixels."""
        phone = width < 600
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Emulation.setEmulatedMedia", media="", features=[scheme])
        self.complaints, self._events = [], []
        self.call("Page.navigate", url=page.resolve().as_uri())
        self._until(lambda: "Page.loadEventFired" in self._events or self.value("1") is None)

    def value(self, expression: str) -> Any:
        """Of JavaScript, which may be a promise."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def picture(self, file: Path, *, whole: bool = True) -> None:
        """PNG of the page, or of its window."""
        data = self.call("Page.captureScreenshot", captureBeyondViewport=whole)["data"]
        file.write_bytes(base64.b64decode(data))

    def pdf(self, file: Path) -> None:
        """As it is printed."""
        data = self.call("Page.printToPDF", preferCSSPageSize=True, paperWidth=8.27, paperHeight=11.69)["data"]
        file.write_bytes(base64.b64decode(data))

    def call(self, method: str, **parameters: Any) -> Any:
        """One command of the protocol, and its answer."""
        self._numbers += 1
        message = {"id": self._numbers, "method": method, "params": parameters}
        message |= {"sessionId": self._session} if self._session else {}
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._numbers:
            self._event(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _event(self, event: dict[str, Any]) -> None:
        name, told = event.get("method", ""), event.get("params", {})
        self._events.append(name)
        if name == "Log.entryAdded":
            self.complaints.append(told["entry"]["text"])
        elif name in ("Runtime.exceptionThrown", "Network.loadingFailed", "Runtime.consoleAPICalled"):
            self.complaints.append(json.dumps(told))

    def _next(self) -> dict[str, Any]:
        """The next message, an answer or an event."""
        deadline = time.monotonic() + SECONDS
        while b"\0" not in self._read:
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "chromium does not answer"
            more = os.read(self._answers, 1 << 20)
            assert more, "chromium has ended"
            self._read += more
        message, _, self._read = self._read.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def _until(self, holds: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + SECONDS
        while not (found := holds()):
            assert time.monotonic() < deadline, "it never came"
            time.sleep(0.05)
        return found
