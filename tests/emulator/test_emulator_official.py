"""The official host: both standards, all query forms, whole replies."""

from emulator_tools import EPOCH, EPOCH_MS, I2V, OMNI, T2V, Caller, play
from yarl import URL

I2V_NEW = "/image-to-video/kling-3.0"
FRAME = {"type": "first_frame", "url": "https://host/a.png"}


def test_legacy_task_from_create_to_end() -> None:
    """A legacy task is told in form D1, with billing and result only at the end."""

    async def story(kling: Caller) -> None:
        created = await kling.post(T2V, {"prompt": "a beach", "external_task_id": "job-7", "model_name": "kling-v2-6"})
        task_id = created.data["task_id"]
        assert len(task_id) == 18
        assert created.json == {
            "code": 0,
            "message": "SUCCEED",
            "request_id": created.json["request_id"],
            "data": {
                "task_id": task_id,
                "task_status": "submitted",
                "task_info": {"external_task_id": "job-7"},
                "created_at": EPOCH_MS,
                "updated_at": EPOCH_MS,
            },
        }
        kling.hand.at = 5
        running = (await kling.get(f"{T2V}/{task_id}")).data
        assert EPOCH_MS < running["updated_at"] < EPOCH_MS + 2000
        assert running == {
            "task_id": task_id,
            "task_status": "processing",
            "task_status_msg": "",
            "task_info": {"external_task_id": "job-7"},
            "watermark_info": {"enabled": False},
            "created_at": EPOCH_MS,
            "updated_at": running["updated_at"],
            "task_result": {},
        }
        kling.hand.at = 10
        ended = (await kling.get(f"{T2V}/job-7")).data
        video = ended["task_result"]["videos"][0]
        assert video["url"].startswith(kling.emulator.url + "/_emulator/assets/")
        assert ended == {
            "task_id": task_id,
            "task_status": "succeed",
            "task_status_msg": "",
            "task_info": {"external_task_id": "job-7"},
            "watermark_info": {"enabled": False},
            "final_unit_deduction": "1.5",
            "final_balance_deduction": {"quota": "0.21", "list_price": "0.21"},
            "created_at": EPOCH_MS,
            "updated_at": EPOCH_MS + 10_000,
            "task_result": {"videos": [{"id": video["id"], "url": video["url"], "duration": video["duration"]}]},
        }
        assert 5.0 <= float(video["duration"]) <= 5.1

    play(story, dialect="official")


def test_new_task_from_create_to_end() -> None:
    """A new-standard task is told in forms D3 and D4."""

    async def story(kling: Caller) -> None:
        body = {
            "contents": [FRAME, {"type": "prompt", "text": "go"}],
            "settings": {"duration": 3},
            "options": {"external_task_id": "job-8", "watermark_info": {"enabled": True}},
        }
        created = await kling.post(I2V_NEW, body)
        task_id = created.data["id"]
        assert created.data == {
            "id": task_id,
            "status": "submitted",
            "message": "",
            "external_id": "job-8",
            "create_time": EPOCH_MS,
            "update_time": EPOCH_MS,
        }
        kling.hand.at = 11
        (row,) = (await kling.get(f"/tasks?task_ids={task_id},nobody")).data
        output = row["outputs"][0]
        assert row == {
            "id": task_id,
            "status": "succeeded",
            "message": "",
            "external_id": "job-8",
            "create_time": EPOCH_MS,
            "update_time": EPOCH_MS + 10_000,
            "outputs": [
                {
                    "type": "video",
                    "id": output["id"],
                    "url": output["url"],
                    "duration": output["duration"],
                    "watermark_url": output["watermark_url"],
                }
            ],
            "billing": [{"charge_type": "unit", "amount": "1.8", "package_type": "video"}],
        }
        assert "-wm.mp4" in output["watermark_url"]
        kling.emulator.charge = "cash"
        (row,) = (await kling.get("/tasks?external_task_ids=job-8")).data
        assert row["billing"] == [
            {
                "charge_type": "cash",
                "cash_type": "balance",
                "amount": "0.252",
                "currency": "USD",
                "list_price": "0.252",
            }
        ]

    play(story, dialect="official")


def test_failed_tasks_cost_nothing() -> None:
    """Moderation and early failures arrive as failed tasks with a reason, and are not billed."""

    async def story(kling: Caller) -> None:
        legacy = await kling.create(prompt="[fail] x", watermark_info={"enabled": True})
        new = await kling.create("/text-to-video/kling-3.0", prompt="[fail] x")
        kling.hand.at = 12
        ended = (await kling.get(f"{T2V}/{legacy}")).data
        assert ended["task_status"] == "failed"
        assert "risk control" in ended["task_status_msg"]
        assert ended["final_unit_deduction"] == "0"
        assert ended["task_result"] == {}
        (row,) = (await kling.get(f"/tasks?task_ids={new}")).data
        assert (row["status"], row["outputs"], row["billing"]) == ("failed", [], [{"amount": "0"}])
        assert "external_id" not in row
        assert kling.emulator.spent == 0
        assert [task.status for task in kling.emulator.tasks] == ["failed", "failed"]

    play(story, dialect="official")


def test_stuck_and_refused_prompts() -> None:
    async def story(kling: Caller) -> None:
        task_id = await kling.create(prompt="[stuck]")
        refused = await kling.post(T2V, {"prompt": "[refuse]"})
        assert (refused.status, refused.json["code"]) == (400, 1301)
        kling.hand.at = 1e6
        assert (await kling.get(f"{T2V}/{task_id}")).data["task_status"] == "processing"

    play(story, dialect="official")


def test_legacy_list_pages() -> None:
    """A list is a bare array of one endpoint's tasks, newest first, cut into pages."""

    async def story(kling: Caller) -> None:
        ids = []
        for second in range(5):
            kling.hand.at = second
            ids.append(await kling.create())
        await kling.create(I2V, image="https://host/a.png")
        first = await kling.get(f"{T2V}?pageNum=1&pageSize=2")
        assert [row["task_id"] for row in first.data] == ids[:2:-1]
        last = await kling.get(f"{T2V}?pageNum=3&pageSize=2")
        assert [row["task_id"] for row in last.data] == ids[:1]
        assert (await kling.get(f"{T2V}?pageNum=4&pageSize=2")).data == []
        assert len((await kling.get(T2V)).data) == 5
        kling.emulator.list_order = "oldest"
        assert [row["task_id"] for row in (await kling.get(f"{T2V}?pageNum=2&pageSize=2")).data] == ids[2:4]
        assert (await kling.get(f"{T2V}?pageNum=9")).data == []
        for query in ("pageSize=501", "pageSize=0", "pageNum=1001", "pageNum=x", "pageNum=-1"):
            refused = await kling.get(f"{T2V}?{query}")
            assert (refused.status, refused.json["code"]) == (400, 1201), query
        assert len((await kling.get(f"{T2V}?pageNum=")).data) == 5
        assert (await kling.get(OMNI)).data == []

    play(story, dialect="official")


def test_batch_needs_exactly_one_kind_of_id() -> None:
    async def story(kling: Caller) -> None:
        for query in ("", "?task_ids=", "?task_ids=a&external_task_ids=b"):
            refused = await kling.get("/tasks" + query)
            assert refused.status == 400
            assert refused.json == {
                "code": 1201,
                "message": "task_ids or external_task_ids is required",
                "request_id": refused.json["request_id"],
            }
        assert (await kling.get("/tasks?external_task_ids=nobody")).json["data"] == []

    play(story, dialect="official")


def test_too_many_ids() -> None:
    """Above the limit a batch is refused or cut: both are switches, for nobody knows."""

    async def story(kling: Caller) -> None:
        ids = [await kling.create("/text-to-video/kling-3.0") for _ in range(3)]
        refused = await kling.get(f"/tasks?task_ids={','.join(ids)}")
        assert (refused.status, refused.json["code"]) == (400, 1201)
        kling.emulator.batch_overflow = "truncate"
        rows = (await kling.get(f"/tasks?task_ids={ids[0]},{ids[0]},{ids[2]}")).data
        assert [row["id"] for row in rows] == [ids[0]]

    play(story, dialect="official", batch_max_ids=2)


def test_batch_sees_legacy_only_when_told() -> None:
    async def story(kling: Caller) -> None:
        task_id = await kling.create(external_task_id="e")
        assert (await kling.get(f"/tasks?task_ids={task_id}")).data == []
        assert (await kling.post("/tasks", {})).data["result"] == []
        kling.emulator.batch_sees_legacy = True
        assert [row["id"] for row in (await kling.get(f"/tasks?task_ids={task_id}")).data] == [task_id]
        assert [row["id"] for row in (await kling.get("/tasks?external_task_ids=e")).data] == [task_id]
        assert (await kling.post("/tasks", {})).data["count"] == 1

    play(story, dialect="official")


def test_legacy_sees_new_only_when_told() -> None:
    async def story(kling: Caller) -> None:
        task_id = await kling.create("/text-to-video/kling-3.0", options={"external_task_id": "e"})
        assert (await kling.get(f"{T2V}/{task_id}")).status == 400
        assert (await kling.get(f"{T2V}/e")).status == 400
        assert (await kling.get(T2V)).data == []
        kling.emulator.legacy_sees_new = True
        assert (await kling.get(f"{T2V}/e")).data["task_id"] == task_id
        assert len((await kling.get(T2V)).data) == 1
        assert (await kling.get(f"{I2V}/{task_id}")).status == 400

    play(story, dialect="official")


def test_cursor_list() -> None:
    """The cursor list goes through the account once, whatever is created meanwhile."""

    async def story(kling: Caller) -> None:
        ids = [await kling.create("/text-to-video/kling-3.0") for _ in range(5)]
        page = (await kling.post("/tasks", {"limit": 2})).data
        assert [row["id"] for row in page["result"]] == ids[:2:-1]
        assert (page["count"], page["has_more"]) == (2, True)
        await kling.create("/text-to-video/kling-3.0")
        page = (await kling.post("/tasks", {"limit": 500, "cursor": page["next_cursor"]})).data
        assert [row["id"] for row in page["result"]] == ids[2::-1]
        assert (page["count"], page["has_more"], page["next_cursor"]) == (3, False, "")
        kling.emulator.list_order = "oldest"
        page = (await kling.post("/tasks", {"limit": 3})).data
        assert [row["id"] for row in page["result"]] == ids[:3]
        page = (await kling.post("/tasks", {"limit": 2, "cursor": page["next_cursor"]})).data
        assert [row["id"] for row in page["result"]] == ids[3:5]

    play(story, dialect="official")


def test_cursor_filters() -> None:
    async def story(kling: Caller) -> None:
        done = await kling.create("/text-to-video/kling-3.0")
        failed = await kling.create("/text-to-video/kling-3.0", prompt="[fail]")
        kling.hand.at = 11
        young = await kling.create("/text-to-video/kling-3.0")

        async def ids(**body: object) -> list[str]:
            reply = await kling.post("/tasks", body)
            assert reply.status == 200, reply.raw
            return [row["id"] for row in reply.data["result"]]

        assert await ids(filters=[{"key": "status", "values": ["submitted", "processing"]}]) == [young]
        assert await ids(filters=[{"key": "status", "values": ["succeeded"]}]) == [done]
        assert await ids(filters=[{"key": "product_type", "values": ["image"]}]) == []
        assert await ids(filters=[{"key": "product_type", "values": ["video"]}], limit="2") == [young, failed]
        assert await ids(end_time=str(EPOCH_MS + 5000)) == [failed, done]
        assert await ids(start_time=str(EPOCH_MS + 5000)) == [young]
        bodies: tuple[dict[str, object], ...] = (
            {"filters": {}},
            {"filters": [{"key": "colour", "values": ["x"]}]},
            {"filters": ["status"]},
            {"filters": [{"key": "status", "values": ["succeed"]}]},
            {"filters": [{"key": "status", "values": []}]},
            {"limit": 501},
            {"limit": 0},
            {"limit": True},
            {"start_time": EPOCH_MS},
            {"end_time": "soon"},
            {"cursor": "???"},
            {"cursor": "MS4y"},
        )
        for bad in bodies:
            refused = await kling.post("/tasks", bad)
            assert (refused.status, refused.json["code"]) == (400, 1201), bad

    play(story, dialect="official")


def test_listing_by_get_is_refused() -> None:
    async def story(kling: Caller) -> None:
        assert (await kling.get("/tasks?start_time=1")).json["code"] == 1201

    play(story, dialect="official")


def test_unknown_routes_and_models() -> None:
    async def story(kling: Caller) -> None:
        for method, path in (
            ("GET", "/nothing"),
            ("DELETE", T2V),
            ("PUT", "/tasks"),
            ("GET", "/image-to-video/kling-3.0/1"),
            ("GET", f"{T2V}/a/b"),
            ("GET", f"{T2V}/"),
            ("GET", "/text-to-video/kling-3.0"),
            ("GET", "/v1/videos/1"),
        ):
            reply = await kling.ask(method, path)
            assert (reply.status, reply.json["code"]) == (404, 1202), path
        reply = await kling.post("/text-to-video/kling-99", {"prompt": "x"})
        assert (reply.status, reply.json["code"]) == (404, 1203)
        assert kling.emulator.tasks == []
        assert kling.emulator.requests[0].kind == "unknown"

    play(story, dialect="official")


def test_ids_in_paths_are_decoded() -> None:
    """An external id may hold an encoded slash; a doubled slash is harmless."""

    async def story(kling: Caller) -> None:
        task_id = await kling.create(external_task_id="a/b c")
        url = URL(f"{kling.emulator.url}{T2V}/a%2Fb%20c", encoded=True)
        async with kling.http.get(url, headers={"Authorization": "Bearer emulator-key"}) as response:
            assert (await response.json())["data"]["task_id"] == task_id
        assert (await kling.get(f"{T2V}//{task_id}")).status == 200

    play(story, dialect="official")


def test_misplaced_external_id_does_nothing() -> None:
    """At the top level of the new standard the id is ignored: two tasks, neither to be found."""

    async def story(kling: Caller) -> None:
        for _ in range(2):
            await kling.create("/text-to-video/kling-3.0", external_task_id="e", duration=10)
        assert (await kling.get("/tasks?external_task_ids=e")).data == []
        assert [task.external_id for task in kling.emulator.tasks] == ["", ""]
        kling.hand.at = 11
        assert kling.emulator.spent == 6.0

    play(story, dialect="official")


def test_old_host_has_only_the_legacy_tree() -> None:
    async def story(kling: Caller) -> None:
        await kling.create()
        assert len((await kling.get(T2V)).data) == 1
        reply = await kling.get("/tasks?task_ids=1")
        assert reply.status == 404
        assert reply.raw.startswith(b"<html>")
        assert (await kling.post("/text-to-video/kling-3.0", {"prompt": "x"})).status == 404

    play(story, dialect="official-old-host")


def test_same_seed_same_fate() -> None:
    """Ids and endings depend on the seed and the order of creates only."""
    seen = []

    def told(seed: int, at: float) -> None:
        async def story(kling: Caller) -> None:
            kling.hand.at = at
            for _ in range(20):
                await kling.create()
                kling.hand.at += at / 7
            kling.hand.at = 1e5
            seen.append(
                [(t.task_id, round((t.ended_at or 0) - t.created_at, 3), t.reason) for t in kling.emulator.tasks]
            )

        play(story, dialect="official", duration_s=None, seed=seed, failure_rate=0.5)

    told(1, 0.0)
    told(1, 9.0)
    told(2, 0.0)
    assert seen[0] == seen[1]
    assert seen[0] != seen[2]
    assert {bool(reason) for _, _, reason in seen[0]} == {True, False}
    assert kling_mean(seen[0]) > 100


def kling_mean(rows: list[tuple[str, float, str]]) -> float:
    return sum(row[1] for row in rows) / len(rows)


def test_durations_by_endpoint() -> None:
    async def story(kling: Caller) -> None:
        await kling.create()
        await kling.create(I2V, image="https://host/a.png")
        await kling.create("/text-to-video/kling-3.0")
        await kling.create(OMNI, aspect_ratio="1:1")
        kling.hand.at = 1e5
        lengths = [round((task.ended_at or 0) - EPOCH, 3) for task in kling.emulator.tasks]
        assert lengths[0] == 7
        assert 20 <= lengths[1] <= 30
        assert lengths[2] == 9
        assert lengths[3] > 30

    durations = {"text2video": 7, "image2video": (20, 30), "text-to-video": 9, "omni-video": None}
    play(story, dialect="official", duration_s=durations)
    play(story_of_star, dialect="official", duration_s={"*": 3.0})


async def story_of_star(kling: Caller) -> None:
    await kling.create()
    kling.hand.at = 3
    assert kling.emulator.tasks[0].status == "succeed"
