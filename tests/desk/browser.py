"""Chromium, driven over its debugging pipe: no port, no package; skipped where there is none."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

#: Seconds until a page must do what is expected of it. The machine may be busy.
PATIENCE = 60.0

KEYS = {
    "ArrowRight": 39, "ArrowLeft": 37, "ArrowDown": 40, "ArrowUp": 38, "Enter": 13, "Escape": 27, "Tab": 9, "End": 35,
    "Home": 36, "PageDown": 34,
}  # fmt: skip


def browser_path() -> str:
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("there is no Chromium here; on Debian: apt-get install chromium")
    return found


class Browser:
    """One page of a headless Chromium."""

    def __init__(self) -> None:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        down, self._write = os.pipe()
        self._read, up = os.pipe()

        def place() -> None:
            first, second = os.dup(down), os.dup(up)
            os.dup2(first, 3)
            os.dup2(second, 4)

        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run"]
        quiet = ["--disable-background-networking", "--disable-component-update", "--hide-scrollbars"]
        self._process = subprocess.Popen(
            [browser_path(), *options, *quiet, f"--user-data-dir={self._profile.name}", "about:blank"],
            preexec_fn=place,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(down)
        os.close(up)
        self._buffer, self._number, self._session = b"", 0, None
        self.events: list[dict] = []
        page = next(one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "Accessibility"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    def close(self) -> None:
        """End the browser that was started here."""
        self._process.kill()
        self._process.wait()
        os.close(self._write)
        os.close(self._read)
        self._profile.cleanup()

    def call(self, method: str, **params: object) -> dict:
        """One command of the debugging protocol, and its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session is not None and not method.startswith("Target."):
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        until = time.monotonic() + PATIENCE
        while True:
            found = self._message(until)
            if found.get("id") == self._number:
                assert "error" not in found, f"{method}: {found['error']}"
                return found["result"]
            self.events.append(found)

    def _message(self, until: float) -> dict:
        while b"\0" not in self._buffer:
            left = until - time.monotonic()
            assert left > 0, "the browser did not answer"
            if select.select([self._read], [], [], left)[0]:
                self._buffer += os.read(self._read, 1 << 20)
        found, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(found)

    def open(self, address: str) -> None:
        """Open a page and wait until it has loaded."""
        self.js("window.left = true")
        self.call("Page.navigate", url=address)
        self.until("!window.left && document.readyState === 'complete'")

    def js(self, source: str) -> object:
        """The value of an expression in the page."""
        found = self.call("Runtime.evaluate", expression=source, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, source: str) -> None:
        """Wait until an expression in the page is true."""
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            try:
                found = self.js(f"Boolean({source})")
            except AssertionError:
                found = None  # between two pages
            if found:
                return
            time.sleep(0.03)
        raise AssertionError(f"never true: {source}; the page says: {self.js('document.body.innerText')!r:.600}")

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press a key."""
        code = KEYS.get(key, ord(key.upper()[0]))
        common = {"key": key, "windowsVirtualKeyCode": code, "modifiers": 8 if shift else 0}
        text = {"text": "\r"} if key == "Enter" else {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **common, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        """Type where the focus is."""
        self.call("Input.insertText", text=text)

    def size(self, width: int, height: int = 900, *, dark: bool = False) -> None:
        """Width, height and colours of the page."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.call("Emulation.setEmulatedMedia", features=scheme)

    def picture(self, file: Path) -> None:
        """Write what is seen as PNG."""
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def problems(self) -> list[str]:
        """Errors that scripts and policies reported since the last call, and addresses elsewhere that were asked."""
        found = []
        for event in self.events:
            params = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                found.append(str(params["exceptionDetails"]))
            elif event.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
                found.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        self.events.clear()
        return found

    def requested(self) -> set[str]:
        """Addresses that were asked for since the last call of :meth:`problems`."""
        return {
            event["params"]["request"]["url"]
            for event in self.events
            if event.get("method") == "Network.requestWillBeSent"
        }
