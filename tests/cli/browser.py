"""A headless Chromium for tests, spoken to over its DevTools protocol: real clicks, keys, pointers and screens."""

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
LIMIT_S = 20.0

KEYS = {
    "Tab": 9,
    "Enter": 13,
    "Escape": 27,
    "End": 35,
    "Home": 36,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowRight": 39,
    "ArrowDown": 40,
}


@contextlib.contextmanager
def chromium(profile: Path) -> Iterator[str]:
    """A browser of its own, ended with all its processes; gives the address of its control socket."""
    assert PROGRAM is not None
    log = profile.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            (
                *(PROGRAM, "--headless=new", "--remote-debugging-port=0", f"--user-data-dir={profile}"),
                # The first three: a container has neither user namespaces nor much shared memory, nor a graphics card.
                *("--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run", "--mute-audio"),
                *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
                *("--disable-extensions", "--disable-default-apps", "--no-default-browser-check"),
            ),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        told = profile / "DevToolsActivePort"
        end = time.monotonic() + LIMIT_S
        while not (told.exists() and len(told.read_text().split()) == 2):
            is_late = process.poll() is not None or time.monotonic() > end
            assert not is_late, log.read_text(errors="replace")[-2000:]
            time.sleep(0.02)
        port, path = told.read_text().split()
        yield f"ws://127.0.0.1:{port}{path}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(LIMIT_S)


class Page:
    """One tab. What it throws and what its policy refuses is kept in `complaints`."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self._target: str | None = None
        self.complaints: list[str] = []
        self.requested: list[str] = []
        self.loads = 0

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        await self._socket.send_json(message)
        async with asyncio.timeout(LIMIT_S):
            while True:
                told = json.loads((await self._socket.receive()).data)
                if told.get("id") == number:
                    assert "error" not in told, f"{method}: {told['error']}"
                    result: dict[str, Any] = told["result"]
                    return result
                self._note(told.get("method"), told.get("params", {}))

    def _note(self, method: str | None, params: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in {"error", "warning"}:
            self.complaints.append(params["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.complaints.append(str(params["args"]))
        elif method == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])
        elif method == "Page.loadEventFired":
            self.loads += 1

    async def open(self, width: int, height: int, **features: str) -> None:
        target = await self.send("Target.createTarget", url="about:blank")
        attached = await self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self._session, self._target = attached["sessionId"], target["targetId"]
        await self.send("Page.bringToFront")
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.send(f"{domain}.enable")
        await self.screen(width, height, **features)

    async def close(self) -> None:
        self._session = None
        await self.send("Target.closeTarget", targetId=self._target)

    async def screen(self, width: int, height: int, **features: str) -> None:
        """Set the size in CSS pixels and media features ("prefers_color_scheme"="dark")."""
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        await self.send("Emulation.setEmulatedMedia", features=named)
        await self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    async def go(self, url: str) -> None:
        before = self.loads
        await self.send("Page.navigate", url=url)
        await self.hear(lambda: self.loads > before)

    async def reload(self) -> None:
        before = self.loads
        await self.send("Page.reload")
        await self.hear(lambda: self.loads > before)

    async def hear(self, done: Callable[[], bool]) -> None:
        """Wait for events until something is so, and ask nothing meanwhile."""
        async with asyncio.timeout(LIMIT_S):
            while not done():
                told = json.loads((await self._socket.receive()).data)
                self._note(told.get("method"), told.get("params", {}))

    async def see(self, script: str) -> Any:
        """The value of an expression; a promise is waited for."""
        told = await self.send("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    async def until(self, script: str) -> Any:
        """Wait until an expression is true."""
        end = time.monotonic() + LIMIT_S
        while not (value := await self.see(script)):
            assert time.monotonic() < end, f"never: {script}"
            await asyncio.sleep(0.02)
        return value

    async def key(self, name: str, times: int = 1) -> None:
        code = KEYS.get(name, ord(name[0].upper()))
        text = {"Enter": "\r", " ": " "}.get(name, "")
        for _ in range(times):
            known = {"key": name, "code": name, "windowsVirtualKeyCode": code}
            await self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **known)
            await self.send("Input.dispatchKeyEvent", type="keyUp", **known)

    async def type(self, text: str) -> None:
        await self.send("Input.insertText", text=text)

    async def point(self, selector: str) -> tuple[float, float]:
        """Move the pointer to the middle of an element."""
        x, y = await self.see(
            "(e => { e.scrollIntoViewIfNeeded(); const b = e.getBoundingClientRect();"
            f" return [b.x + b.width / 2, b.y + b.height / 2]; }})(document.querySelector({json.dumps(selector)}))"
        )
        await self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        return x, y

    async def click(self, selector: str) -> None:
        x, y = await self.point(selector)
        for kind in ("mousePressed", "mouseReleased"):
            await self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    async def shot(self, file: Path) -> None:
        told = await self.send("Page.captureScreenshot", format="png")
        file.write_bytes(base64.b64decode(told["data"]))


@contextlib.asynccontextmanager
async def tab(address: str, width: int = 1400, height: int = 900, **features: str) -> AsyncIterator[Page]:
    """A tab of a browser, on the address of its control socket."""
    async with aiohttp.ClientSession() as http, http.ws_connect(address, max_msg_size=0) as socket:
        page = Page(socket)
        await page.open(width, height, **features)
        try:
            yield page
        finally:
            await page.close()
