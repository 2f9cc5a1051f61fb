"""Families of hosts: what each is asked, in which form, and what it is never asked; whole journeys on each."""

import asyncio
import json
import warnings
from typing import Any

import pytest
from flow_tools import assert_paid_once, client, clip, kinds, service
from test_cases import turbo
from test_trouble import assert_all_done, run_all

from kling_async import (
    ConfigError,
    Host,
    InvalidRequest,
    KlingSession,
    Operation,
    Policy,
    RequestWarning,
    Solution,
    Status,
    SubmissionUnknown,
    TextToVideo,
    find_host,
)
from kling_async.dialects import PRESETS
from kling_async.emulator import Emulator, Fault
from kling_async.emulator.dialects import DIALECTS
from kling_async.sweep import Batch, Form, ListPage, Single

HERE = "http://localhost"
# What a user writes for a host that speaks like this, and how the emulator then has to be set up.
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "official": (f"official:{HERE}", "official", {}),
    "cometapi": (f"cometapi:{HERE}", "cometapi", {}),
    "kapon": (f"kapon:{HERE}", "cometapi", {"lists": True}),
    "hingnet": (f"hingnet:{HERE}", "cometapi", {}),
    "crazyrouter": (f"crazyrouter:{HERE}", "crazyrouter", {}),
    "new-api": (f"new-api:{HERE}", "new-api", {}),
    "new-api-old": (f"new-api:{HERE}", "new-api-old", {}),
    "aimanyi": (f"aimanyi:{HERE}", "mixed", {"lenient": True}),
    "gateway": (HERE, "flat", {}),
}


def forms(emulator: Emulator) -> set[str]:
    """The kinds of status queries that were sent, paths that the host does not have included."""
    return {request.kind for request in emulator.requests if request.method == "GET" and request.kind != "asset"}


def assert_tried_once(emulator: Emulator) -> None:
    """What the host does not have was asked for in one sweep only: its questions leave before the first answer."""
    unknown = [request for request in emulator.requests if request.kind == "unknown"]
    for path in {request.path for request in unknown}:
        moments = [request.at for request in unknown if request.path == path]
        assert max(moments) - min(moments) < 1
        assert len(moments) <= 3


def urls(kling: KlingSession) -> Any:
    return lambda query: str(kling._transport._url_of(query))


# --- abilities -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
async def test_forty_jobs_go_through_every_family(family: str) -> None:
    """The same program: each job delivered, made once, and no question that the family's pages rule out."""
    name, dialect, settings = FAMILIES[family]
    async with service(dialect, duration_s=(20, 90), **settings) as emulator:
        async with client(emulator, base_url=name) as kling:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RequestWarning)
                assert_all_done(await run_all(kling, 40))
            lacks = kling.host.lacks
        assert_paid_once(emulator, 40)
        tried = {request.path for request in emulator.requests if request.method == "GET"}
        if "batch" in lacks:
            assert not any(path.endswith("/tasks") for path in tried)
        if "list" in lacks:
            assert not any(path.endswith("/text2video") for path in tried)
        if "external" in lacks:
            assert not any("ka-" in path for path in tried)
        assert_tried_once(emulator)


@pytest.mark.parametrize("family", ["new-api", "new-api-old", "crazyrouter"])
async def test_a_family_that_is_known_to_answer_single_questions_only_is_asked_no_others(family: str) -> None:
    """No probe of lists or batches, also not a day later, and no look for an id that it cannot find."""
    name, dialect, _ = FAMILIES[family]
    async with service(dialect, duration_s=(20, 200)) as emulator, client(emulator, base_url=name) as kling:
        assert_all_done(await run_all(kling, 30))
        await asyncio.sleep(2 * 86_400)
        assert_all_done(await run_all(kling, 30))
        assert forms(emulator) == {"single"}
        assert kinds(emulator)["unknown"] == 0
        assert set(kling.stats.queries) == {"single"}


@pytest.mark.parametrize("family", ["new-api", "crazyrouter"])
async def test_where_nothing_is_found_by_external_id_a_lost_create_is_told(family: str) -> None:
    """The user decides, since sending it again may pay twice; nothing is sent again meanwhile."""
    name, dialect, _ = FAMILIES[family]
    lost = Fault(action="reset", stage="after", kind="create", nth=1)
    async with service(dialect, faults=[lost], duration_s=20.0) as emulator, client(emulator, base_url=name) as kling:
        job = await kling.submit(clip())
        with pytest.raises(SubmissionUnknown) as caught:
            await job
        assert (job.status, caught.value.paid) == (Status.UNRESOLVED, "maybe")
        assert kinds(emulator)["create"] == 1


@pytest.mark.parametrize("family", ["kapon", "hingnet", "cometapi"])
async def test_where_the_external_id_is_documented_a_lost_create_is_found(family: str) -> None:
    """By a single question or in the list, whichever the host has."""
    name, dialect, settings = FAMILIES[family]
    lost = Fault(action="reset", stage="after", kind="create", nth=1)
    settings = {**settings, "faults": [lost], "duration_s": 100.0}
    async with service(dialect, **settings) as emulator, client(emulator, base_url=name) as kling:
        assert (await kling.generate(clip())).task_id == emulator.tasks[0].task_id
        assert kinds(emulator)["create"] == 1


async def test_kapon_is_asked_by_lists_and_never_by_batches() -> None:
    """Source: its "Task Query": `?pageNum&pageSize` on each type of task."""
    name, dialect, settings = FAMILIES["kapon"]
    settings = {**settings, "duration_s": (60, 120)}
    async with service(dialect, **settings) as emulator, client(emulator, base_url=name) as kling:
        assert_all_done(await run_all(kling, 60))
        assert kinds(emulator)["list"] > 0
        assert kinds(emulator)["unknown"] == 0
        assert kinds(emulator)["single"] < 30
        assert not any(request.path.endswith("/tasks") for request in emulator.requests)
        listed = [observation async for observation in kling.tasks("text2video", page_size=25)]
        assert len(listed) == 60


async def test_the_service_is_asked_in_batches_at_once_about_the_new_standard_only() -> None:
    """Documented there; of the legacy standard it is not known, so lists are tried first."""
    async with service(duration_s=(30, 60)) as emulator, client(emulator) as kling:
        assert_all_done([job async for job in kling.map(turbo(f"scene {index}") for index in range(20))])
        queries = [request.kind for request in emulator.requests if request.method == "GET"]
        assert queries[0] == "batch"
        assert set(queries) == {"batch"}
        reach = kling._runtime.scheduler().poller.reach
        assert reach.of("text-to-video/kling-3.0", Form.BATCH).works is True
        assert reach.of("image-to-video/kling-9.9", Form.BATCH).works is True
        assert reach.of("image-to-video/kling-9.9", Form.LIST).works is False
        assert reach.of("text2video", Form.BATCH).works is None
        assert reach.of("text2video", Form.LIST).works is None
        assert reach.of("solutions/video/any", Form.BATCH).works is True
        assert reach.of("solutions/video/any", Form.LIST).works is False


async def test_the_old_host_serves_the_legacy_standard_alone() -> None:
    """Source: service reference, "Hosts": `/tasks` there is a page of HTML."""
    old = find_host("https://api.klingai.com")
    host = Host(url=HERE, prefix="", family="official", lacks=old.lacks, undocumented=frozenset(), new_single="tasks")
    async with service("official-old-host", duration_s=(20, 60)) as emulator:
        async with client(emulator, base_url=host) as kling:
            assert_all_done(await run_all(kling, 30))
            with pytest.raises(InvalidRequest, match="does not have"):
                await kling.submit(turbo())
            with pytest.raises(InvalidRequest, match="does not have"):
                await anext(kling.tasks(Operation))
        assert kinds(emulator)["unknown"] == 0
        assert not any(request.path == "/tasks" for request in emulator.requests)


@pytest.mark.parametrize("family", ["new-api", "crazyrouter"])
async def test_a_host_without_lists_is_not_asked_for_one(family: str) -> None:
    """Refused before anything is sent, with the host's name."""
    name, dialect, _ = FAMILIES[family]
    async with service(dialect) as emulator, client(emulator, base_url=name) as kling:
        with pytest.raises(InvalidRequest, match=r"localhost/kling has no lists of tasks") as caught:
            await anext(kling.tasks("text2video"))
        assert caught.value.paid == "no"
        assert emulator.requests == []


async def test_a_host_that_knows_no_new_standard_is_not_sent_one() -> None:
    """new-api: neither a create, nor a list, nor a Solution; the sentence says what to use instead."""
    async with service("new-api") as emulator, client(emulator) as kling:
        for refused in (kling.submit(turbo()), kling.generate(turbo()), anext(kling.tasks(Operation))):
            with pytest.raises(InvalidRequest, match="use the classes of the legacy one"):
                await refused
        with pytest.raises(InvalidRequest, match="Solutions"):
            await anext(kling.tasks(Solution))
        jobs = [job async for job in kling.map([turbo()])]
        assert [(job.status, type(job.error)) for job in jobs] == [(Status.REJECTED, InvalidRequest)]
        assert emulator.requests == []


# --- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "legacy", "new"),
    [
        ("global", "https://api-singapore.klingai.com/v1/videos/text2video/", None),
        ("china", "https://api-beijing.klingai.com/v1/videos/text2video/", None),
        ("cometapi", "https://api.cometapi.com/kling/v1/videos/text2video/", "https://api.cometapi.com/kling"),
        ("kapon", "https://models.kapon.cloud/kling/v1/videos/text2video/", "https://models.kapon.cloud/kling"),
        ("hingnet", "https://models.hingnet.com.cn/kling/v1/videos/text2video/", "https://models.hingnet.com.cn/kling"),
        ("crazyrouter", "https://crazyrouter.com/kling/v1/videos/text2video/", "https://crazyrouter.com/kling"),
        (
            "cloudsway:https://genaiapi-m2.cloudsway.net/v1/ai/abc/kling",
            "https://genaiapi-m2.cloudsway.net/v1/ai/abc/kling/videos/text2video/",
            "https://genaiapi-m2.cloudsway.net/v1/ai/abc/kling/videos",
        ),
        ("aimanyi:https://gw.example", "https://gw.example/kling/v1/videos/text2video/", "https://gw.example/kling"),
    ],
)
def test_questions_go_where_the_hosts_pages_say(name: str, legacy: str, new: str | None) -> None:
    """Below the create path; of the new standard the service itself has one place for all."""
    url = urls(KlingSession(base_url=name, api_key="k"))
    operation = "text-to-video/kling-3.0-turbo"
    root = str(find_host(name).url.origin())
    assert url(Single("text2video", "a/b")) == f"{legacy}a%2Fb"
    assert url(ListPage("text2video", 2, 30)) == f"{legacy[:-1]}?pageNum=2&pageSize=30"
    if new is None:
        assert url(Single(operation, "7")) == f"{root}/tasks?task_ids=7"
        assert url(Single(operation, "ka-7", external=True)) == f"{root}/tasks?external_task_ids=ka-7"
        batch = Batch(("1", "2,3"), frozenset({operation}))
        assert url(batch) == f"{root}/tasks?task_ids=1,2%2C3"
        assert url(Single("solutions/a/b", "7")) == f"{root}/solutions?task_ids=7"
        assert url(Single("solutions/a/b", "ka-7", external=True)) == f"{root}/solutions?external_task_ids=ka-7"
    else:
        assert url(Single(operation, "7")) == f"{new}/{operation}/7"
        assert url(Single(operation, "ka-7", external=True)) == f"{new}/{operation}/ka-7"


@pytest.mark.parametrize("family", ["new-api", "aimanyi", "cloudsway", "official"])
def test_a_session_on_a_family_without_an_address_says_how_to_write_one(family: str) -> None:
    """At once, in the constructor, before any key is sent anywhere."""
    with pytest.raises(ConfigError, match=f"needs an address: write '{family}:https://"):
        KlingSession(base_url=family, api_key="k")


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_session_takes_every_preset_by_name(name: str) -> None:
    assert KlingSession(base_url=name, api_key="k").host == PRESETS[name]


@pytest.mark.parametrize("standard", ["legacy", "new"])
async def test_cloudsway_is_spoken_to_below_its_own_paths(standard: str) -> None:
    """`/v1/ai/{endpointPath}/kling/videos/...` for both standards, queries too. Source: "MaaS_KL_3.0_turbo"."""
    paths: list[tuple[str, str]] = []
    base = "/v1/ai/abc/kling/videos"
    task = "901930004609634393"
    create, answer = (
        (f"{base}/text2video", {"task_id": task, "task_status": "succeed"})
        if standard == "legacy"
        else (f"{base}/text-to-video/kling-3.0", {"id": task, "status": "succeeded"})
    )
    begun = {key: ("submitted" if "status" in key else value) for key, value in answer.items()}
    output = {"id": "v", "url": "https://x.test/1.mp4"}
    ended = {**answer, "task_result": {"videos": [output]}} if standard == "legacy" else {**answer, "outputs": [output]}

    def body(data: object) -> bytes:
        return json.dumps({"code": 0, "message": "SUCCEED", "data": data}).encode()

    faults = [
        Fault(action="body", method="POST", path=create, body=body(begun)),
        Fault(action="body", method="GET", path=f"{create}/{task}", body=body(ended)),
    ]
    async with service("cometapi", faults=faults) as emulator:
        async with client(emulator, base_url=f"cloudsway:{HERE}/v1/ai/abc/kling") as kling:
            request: Any = clip() if standard == "legacy" else turbo()
            result = await kling.generate(request)
            assert (result.task_id, result.url) == (task, "https://x.test/1.mp4")
        paths = [
            (entry.method, entry.path) for entry in emulator.requests if task in entry.path or entry.path == create
        ]
    assert paths[0] == ("POST", create)
    assert ("GET", f"{create}/{task}") in paths


async def test_aimanyi_gets_its_lengths_as_numbers() -> None:
    """Its legacy pages type `duration` as a number, and the service a text; the request is the same."""
    for name, dialect, wanted in ((f"aimanyi:{HERE}", "mixed", 10), (HERE, "cometapi", "10")):
        settings: dict[str, Any] = {"lenient": True, "duration_s": 10.0}
        async with service(dialect, **settings) as emulator, client(emulator, base_url=name) as kling:
            await kling.generate(TextToVideo(prompt="a", model_name="kling-v2-6", duration="10"))
            assert emulator.tasks[0].body["duration"] == wanted


# --- patience --------------------------------------------------------------------------------------------------------


async def test_what_a_gateway_was_not_known_to_lack_is_found_out_and_remembered() -> None:
    """A list and a batch are tried when they would save something, refused once each, and no job notices."""
    async with service("cometapi", duration_s=(100, 300)) as emulator, client(emulator) as kling:
        assert_all_done(await run_all(kling, 50))
        assert kinds(emulator)["unknown"] > 0
        assert_tried_once(emulator)
        assert_paid_once(emulator, 50)


async def test_a_list_that_is_none_is_not_asked_for_again() -> None:
    """A host that answers the list's path with one object: its tasks are asked about in another form."""
    body = json.dumps({"code": 0, "message": "SUCCEED", "data": {"total": 3}}).encode()
    odd = Fault(action="body", kind="list", body=body)
    async with service(faults=[odd], batch=False, duration_s=(50, 100)) as emulator, client(emulator) as kling:
        assert_all_done(await run_all(kling, 30))
        assert 1 <= kinds(emulator)["list"] <= 2
        assert_paid_once(emulator, 30)


async def test_every_dialect_of_the_emulator_is_some_family() -> None:
    """None is left out above, except the old host, which has a test of its own."""
    assert {dialect for _, dialect, _ in FAMILIES.values()} | {"official-old-host"} == set(DIALECTS)


async def test_a_slow_policy_is_kept_on_every_family() -> None:
    """The user's own bound on questions holds wherever they go."""
    for family in ("official", "new-api", "kapon"):
        name, dialect, settings = FAMILIES[family]
        policy = Policy(queries_per_s=0.5)
        settings = {**settings, "duration_s": (50, 100)}
        async with service(dialect, **settings) as emulator, client(emulator, base_url=name, policy=policy) as kling:
            began = asyncio.get_running_loop().time()
            assert_all_done(await run_all(kling, 20))
            took_s = asyncio.get_running_loop().time() - began
            queries = [request for request in emulator.requests if request.method == "GET"]
            assert len(queries) <= 0.5 * took_s + 12
