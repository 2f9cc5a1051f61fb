"""One SDK, in a process of its own: submits N jobs at once, waits for all, and tells what that cost.

Run by peers.py with the interpreter that has the SDK; needs no other package. Each peer is driven as its own pages say,
with its own defaults; where an SDK has no way to wait, the loop of its documentation stands in, and its name says so.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import math
import os
import resource
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Drive = tuple["Callable[[int], Awaitable[str]]", "Callable[[], Awaitable[object]]"]


def fal_client(address: str) -> Drive:
    """`submit`, then `get` of its handle."""
    os.environ["FAL_KEY"] = "id:secret"
    sdk = importlib.import_module("fal_client")
    inside: Any = importlib.import_module("fal_client.client")
    inside.QUEUE_URL_FORMAT = f"{address}/fal/"  # its own is fixed to https
    client = sdk.AsyncClient()

    async def drive(number: int) -> str:
        handle = await client.submit("app", {"prompt": f"take {number}"})
        return str((await handle.get())["video"]["url"])

    async def close() -> None:
        await (await client._client).aclose()

    return drive, close


def replicate(address: str) -> Drive:
    """`predictions.async_create`, then `async_wait`."""
    client = importlib.import_module("replicate").Client(api_token="r8_x", base_url=address)

    async def drive(number: int) -> str:
        prediction = await client.predictions.async_create(version="v" * 64, input={"prompt": f"take {number}"})
        await prediction.async_wait()
        return str(prediction.output)

    async def close() -> None:
        await client._async_client.aclose()

    return drive, close


def runwayml(address: str) -> Drive:
    """`text_to_video.create`, then `wait_for_task_output`."""
    client = importlib.import_module("runwayml").AsyncRunwayML(api_key="key_" + "x" * 128, base_url=address)

    async def drive(number: int) -> str:
        task = await client.text_to_video.create(
            model="veo3.1", prompt_text=f"take {number}", ratio="1280:720", duration=4
        )
        return str((await task.wait_for_task_output()).output[0])

    return drive, client.close


def openai(address: str) -> Drive:
    """`videos.create_and_poll`."""
    client = importlib.import_module("openai").AsyncOpenAI(api_key="x", base_url=f"{address}/openai/v1")

    async def drive(number: int) -> str:
        video = await client.videos.create_and_poll(model="sora-2", prompt=f"take {number}")
        if video.status != "completed":
            raise RuntimeError(video.status)
        return str(video.prompt)

    return drive, client.close


def lumaai(address: str) -> Drive:
    """`generations.create`, and the documented loop: get, sleep 3 s."""
    client = importlib.import_module("lumaai").AsyncLumaAI(auth_token="x", base_url=f"{address}/luma/v1")

    async def drive(number: int) -> str:
        made = await client.generations.create(model="ray-2", prompt=f"take {number}")
        while True:
            made = await client.generations.get(made.id)
            if made.state == "completed":
                return str(made.assets.video)
            await asyncio.sleep(3)

    return drive, client.close


def google_genai(address: str) -> Drive:
    """`models.generate_videos`, and the documented loop: sleep 10 s, get."""
    genai = importlib.import_module("google.genai")
    client = genai.Client(vertexai=True, api_key="x", http_options={"base_url": address})

    async def drive(number: int) -> str:
        source = genai.types.GenerateVideosSource(prompt=f"take {number}")
        operation = await client.aio.models.generate_videos(model="veo", source=source)
        while not operation.done:
            await asyncio.sleep(10)
            operation = await client.aio.operations.get(operation)
        return str(operation.response.generated_videos[0].video.uri)

    return drive, client.aio.aclose


def comfy_sdk(address: str) -> Drive:
    """`submit`, then `result` of its job."""
    os.environ["COMFY_BASE_URL"] = address
    client = importlib.import_module("comfy_sdk").AsyncComfy()

    async def drive(number: int) -> str:
        flow = {"1": {"class_type": "Text", "inputs": {"text": f"take {number}"}}}
        job = await client.submit(client.workflows.from_json(flow))
        await job.result()
        return f"?done={job._model.metrics['ended_us'] / 1e6:.6f}"

    async def close() -> None:
        await client.__aexit__(None, None, None)

    return drive, close


def raw_loop(address: str) -> Drive:
    """No SDK: aiohttp, and a 5 s loop per task as users write it."""
    aiohttp = importlib.import_module("aiohttp")
    path = f"{address}/v1/videos/text2video"
    http = aiohttp.ClientSession()

    async def drive(number: int) -> str:
        async with http.post(path, json={"prompt": f"take {number}"}) as response:
            task_id = (await response.json())["data"]["task_id"]
        while True:
            await asyncio.sleep(5)
            async with http.get(f"{path}/{task_id}") as response:
                data = (await response.json())["data"]
            if data["task_status"] == "succeed":
                return str(data["task_result"]["videos"][0]["url"])

    return drive, http.close


def kling_async(address: str) -> Drive:
    """`generate`, of one session."""
    sdk = importlib.import_module("kling_async")
    session = sdk.KlingSession(api_key="x", base_url=sdk.official(address))
    opening: list[asyncio.Task[object]] = []

    async def drive(number: int) -> str:
        if not opening:
            opening.append(asyncio.ensure_future(session.__aenter__()))
        await opening[0]
        request = sdk.TextToVideo(prompt=f"take {number}", model_name="kling-v2-6", mode="pro", duration="5")
        return str((await session.generate(request)).url)

    return drive, session.aclose


PEERS: dict[str, Callable[[str], Drive]] = {
    "kling_async": kling_async,
    "raw_loop": raw_loop,
    "fal_client": fal_client,
    "replicate": replicate,
    "runwayml": runwayml,
    "openai": openai,
    "lumaai": lumaai,
    "google_genai": google_genai,
    "comfy_sdk": comfy_sdk,
}


def used() -> tuple[float, float]:
    """Give CPU seconds and the most memory so far, MB."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    unit = 1024 if sys.platform != "darwin" else 1024 * 1024
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit


async def run(name: str, address: str, jobs: int, limit_s: float) -> dict[str, Any]:
    """Run it; give figures."""
    drive, close = PEERS[name](address)
    lags: list[float] = []
    errors: Counter[str] = Counter()

    async def one(number: int) -> None:
        try:
            url = await drive(number)
            lags.append(time.monotonic() - float(url.rpartition("done=")[2]))
        except asyncio.CancelledError:
            errors["not done in time"] += 1
            raise
        except Exception as error:  # noqa: BLE001 - every failure is counted, whatever an SDK raises
            errors[type(error).__name__] += 1
            if errors.total() == 1:
                print(f"{type(error).__name__}: {error}"[:500], file=sys.stderr)

    cpu_s, memory_mb = used()
    began = time.monotonic()
    tasks = [asyncio.ensure_future(one(number)) for number in range(jobs)]
    _, late = await asyncio.wait(tasks, timeout=limit_s)
    spent_s, most_mb = used()
    took_s = time.monotonic() - began
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late, timeout=10)
    try:
        await asyncio.wait_for(_awaited(close()), 10)
    except Exception as error:  # noqa: BLE001 - closing is not what is measured
        print(f"closing: {error!r}"[:200], file=sys.stderr)
    lags.sort()
    return {
        "done": len(lags),
        "errors": dict(errors),
        "took_s": took_s,
        "cpu_s": spent_s - cpu_s,
        "memory_mb": most_mb - memory_mb,
        "mean_s": math.fsum(lags) / len(lags) if lags else None,
        "max_s": lags[-1] if lags else None,
    }


async def _awaited(closing: Awaitable[object]) -> None:
    await closing


def main() -> None:
    """Run one, and print its figures as JSON."""
    logging.getLogger("kling_async").addHandler(logging.NullHandler())
    name, address, jobs, limit_s = sys.argv[1:]
    print(json.dumps(asyncio.run(run(name, address, int(jobs), float(limit_s)))))
    sys.stdout.flush()
    os._exit(0)  # threads and pools of an SDK must not keep the run


if __name__ == "__main__":
    main()
