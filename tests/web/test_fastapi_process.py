"""Jobs outlive the service that was asked for them: real uvicorn, two workers, one journal, killed in the middle."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import aiohttp
import attrs
import pytest

from kling_async.emulator import Emulator

pytest.importorskip("fastapi", reason="needs the extra kling-async[fastapi]")
pytest.importorskip("uvicorn")
if not hasattr(os, "killpg"):
    pytest.skip("processes are killed in groups", allow_module_level=True)

JOBS = 50
START_S = 30.0
ROOT = Path(__file__).parents[2]


@attrs.define
class Service:
    """The application under uvicorn with two workers, which can be killed and started again at the same place."""

    folder: Path
    port: int
    emulator_port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)]),
            "JOURNAL": str(self.folder / "kling.db"),
            "KLING_API_KEY": "emulator-key",
            "KLING_BASE_URL": f"official:http://127.0.0.1:{self.emulator_port}",
        }
        command = [sys.executable, "-m", "uvicorn", "served_app:app", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "2", "--timeout-graceful-shutdown", "1", "--no-access-log"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)

    def kill(self) -> None:
        """End the whole group at once: nobody can write anything down."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)
            self.process = None

    def wait_until_up(self) -> None:
        until = time.monotonic() + START_S
        while True:
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < until, (self.folder / "log").read_text()
            with suppress(OSError), urllib.request.urlopen(f"{self.url}/jobs?limit=1", timeout=START_S):
                return
            time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Service]:
    """The service, up; before the test's own loop and its limit of time, since a start takes long on a busy machine."""
    port, emulator_port = free_ports(2)
    service = Service(tmp_path, port, emulator_port)
    service.start()
    try:
        service.wait_until_up()
        yield service
    finally:
        service.kill()


@attrs.define
class Follower:
    """A client of one job's events, who comes back after every break."""

    place: str
    seen: list[tuple[int, str]] = attrs.field(factory=list)
    breaks: int = 0
    is_told: bool = False

    async def follow(self, http: aiohttp.ClientSession) -> None:
        while not self.is_told:
            try:
                await self._listen(http)
            except aiohttp.ClientError:
                self.breaks += 1
                await asyncio.sleep(0.5)

    async def _listen(self, http: aiohttp.ClientSession) -> None:
        last = {"Last-Event-ID": str(self.seen[-1][0])} if self.seen else {}
        async with http.get(f"{self.place}/events", headers=last) as answer:
            self.is_told = answer.status == 204
            number = 0
            async for line in answer.content:
                name, _, value = line.decode().rstrip().partition(": ")
                if name == "id":
                    number = int(value)
                elif name == "data":
                    self.seen.append((number, json.loads(value)["status"]))


@pytest.mark.realtime
async def test_killed_and_restarted_while_jobs_run(running: Service) -> None:
    """Every job ends, each is paid once, and an event stream that comes back misses nothing."""
    timeout = aiohttp.ClientTimeout(total=None, sock_read=30)
    connector = aiohttp.TCPConnector(limit=0, force_close=True)  # a worker each time, whichever it is
    async with (
        Emulator(
            dialect="official", port=running.emulator_port, speed=10.0, duration_s=(10, 20), slots=30, seed=3
        ) as emulator,
        aiohttp.ClientSession(connector=connector, timeout=timeout) as http,
    ):

        async def create(number: int) -> str:
            body = {"endpoint": "text2video", "request": {"prompt": f"scene {number}", "model_name": "kling-v2-6"}}
            key = {"Idempotency-Key": f"scene-{number}"}
            async with http.post(f"{running.url}/jobs", json=body, headers=key) as answer:
                assert answer.status == 202, await answer.text()
                return answer.headers["Location"]

        places = await asyncio.gather(*map(create, range(JOBS)))
        assert len(set(places)) == JOBS
        followers = [Follower(f"{running.url}{place}") for place in places]
        async with asyncio.TaskGroup() as group:
            for follower in followers:
                group.create_task(follower.follow(http))
            while sum(bool(follower.seen) for follower in followers) < JOBS or len(emulator.tasks) < 20:
                await asyncio.sleep(0.02)
            running.kill()
            assert not all(task.status == "succeed" for task in emulator.tasks)
            running.start()
            await asyncio.to_thread(running.wait_until_up)
            repeated = await asyncio.gather(*map(create, range(JOBS)))  # a client that has not heard its answer
            assert repeated == places

        for follower in followers:
            numbers = [number for number, _ in follower.seen]
            assert numbers == sorted(set(numbers)), follower
            assert {(1, "queued"), (4, "accepted"), (7, "succeeded")} <= set(follower.seen), follower
        assert sum(follower.breaks for follower in followers) >= JOBS / 2
        made = Counter(task.external_id for task in emulator.tasks)
        assert made == {f"scene-{number}": 1 for number in range(JOBS)}
        async with http.get(f"{running.url}/jobs?status=succeeded&limit=200") as answer:
            assert len((await answer.json())["jobs"]) == JOBS
