"""Solutions: productions with a board of their own, on the official host."""

from typing import Any

import pytest
from emulator_tools import EPOCH_MS, Caller, play, png, token

GOODS = "/solutions/e-commerce/goods_studio"
CAPTIONS = "/solutions/video/subtitles"
OTHER = "/solutions/advertising/fast_cut"
PICTURE = {"type": "image", "url": "https://host/a.png"}


def body(**options: Any) -> dict[str, Any]:
    return {"contents": [PICTURE, {"type": "prompt", "text": "a shoe"}], "options": options}


async def made(kling: Caller, path: str = GOODS, **options: Any) -> str:
    created = await kling.post(path, body(**options))
    assert created.status == 200, created.raw
    return str(created.data["id"])


def test_solution_from_create_to_end() -> None:
    """Made like any task of the new standard, found on its own board only."""

    async def story(kling: Caller) -> None:
        created = await kling.post(GOODS, body(external_task_id="job-1", watermark=True))
        assert created.data == {
            "id": created.data["id"],
            "status": "submitted",
            "message": "",
            "external_id": "job-1",
            "create_time": EPOCH_MS,
            "update_time": EPOCH_MS,
        }
        ident = created.data["id"]
        kling.hand.at = 11
        (row,) = (await kling.get(f"/solutions?task_ids={ident},nobody")).data
        assert (row["status"], row["billing"][0]["amount"]) == ("succeeded", "5")
        kinds = [output["type"] for output in row["outputs"]]
        assert kinds == ["product_image", "model_images", "model_images", "product_video"]
        for output in row["outputs"]:
            file = await kling.get(output["url"], key=None)
            assert file.headers["Content-Type"] == ("video/mp4" if "video" in output["type"] else "image/png")
            assert (await kling.get(output["watermark_url"], key=None)).status == 200
        assert float(row["outputs"][3]["duration"]) >= 5
        assert (await kling.get("/solutions?external_task_ids=job-1")).data == [row]
        assert (await kling.get(f"/tasks?task_ids={ident}")).data == []
        assert (await kling.post("/tasks", {})).data["result"] == []
        kling.emulator.tasks_see_solutions = True
        assert (await kling.get(f"/tasks?task_ids={ident}")).data == [row]

    play(story, dialect="official")


def test_captions() -> None:
    """A captioned video comes with its captions in two formats; without the option there is no watermark."""

    async def story(kling: Caller) -> None:
        ident = await made(kling, CAPTIONS)
        other = await made(kling, OTHER)
        kling.hand.at = 11
        row, plain = (await kling.get(f"/solutions?task_ids={ident},{other}")).data
        video, srt, ass = row["outputs"]
        assert [video["type"], srt["type"], ass["type"]] == ["subbed_video", "srt", "ass"]
        assert "watermark_url" not in video
        assert b"-->" in (await kling.get(srt["url"], key=None)).raw
        assert b"Dialogue:" in (await kling.get(ass["url"], key=None)).raw
        assert [output["type"] for output in plain["outputs"]] == ["video"]

    play(story, dialect="official")


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"contents": "x"},
        {"contents": [{}]},
        {"contents": [{"type": "prompt"}]},
        {"contents": [{"type": "image", "url": "?"}]},
        {"contents": [{"type": "image", "url": "data:image/png;base64,"}]},
        {"contents": [PICTURE], "options": {"watermark": "yes"}},
        {"contents": [PICTURE], "options": {"external_task_id": 5}},
    ],
)
def test_refused_bodies(wrong: dict[str, Any]) -> None:
    async def story(kling: Caller) -> None:
        refused = await kling.post(GOODS, wrong)
        assert (refused.status, refused.json["code"]) == (400, 1201)

    play(story, dialect="official")


def test_the_watermark_key_is_its_own() -> None:
    """`watermark_info` is ignored here, like every misplaced field."""

    async def story(kling: Caller) -> None:
        ident = await made(kling, watermark_info={"enabled": True})
        film = {"contents": [{"type": "video", "url": "https://host/v.mp4"}]}
        assert (await kling.post(CAPTIONS, film)).status == 200
        small = await kling.post(GOODS, {"contents": [{"type": "image", "url": png(200, 200)}]})
        kling.hand.at = 11
        row, failed = (await kling.get(f"/solutions?task_ids={ident},{small.data['id']}")).data
        assert all("watermark_url" not in output for output in row["outputs"])
        assert (failed["status"], failed["outputs"]) == ("failed", [])

    play(story, dialect="official")


def test_queries_have_limits() -> None:
    """At most 20 ids, whatever `/tasks` takes; exactly one kind of them."""

    async def story(kling: Caller) -> None:
        ident = await made(kling)
        many = ",".join([ident, *map(str, range(20))])
        for query in (f"task_ids={many}", f"external_task_ids={many}", "", "task_ids=a&external_task_ids=b"):
            refused = await kling.get(f"/solutions?{query}")
            assert (refused.status, refused.json["code"]) == (400, 1201)
        assert len((await kling.get(f"/solutions?task_ids={many.rpartition(',')[0]}")).data) == 1
        assert (await kling.get(f"/tasks?task_ids={many}")).status == 200

    play(story, dialect="official", batch_max_ids=100, batch_overflow="truncate")


def test_list_of_solutions() -> None:
    """Pages by cursor; a limit of 0 or less counts as 1, above 500 is refused."""

    async def story(kling: Caller) -> None:
        ids = []
        for second in range(3):
            kling.hand.at = second
            ids.append(await made(kling))
            await kling.create("/text-to-video/kling-3.0")
        whole = (await kling.post("/solutions", {})).data
        assert ([row["id"] for row in whole["result"]], whole["has_more"]) == (ids[::-1], False)
        for limit in (0, -7, 1):
            page = (await kling.post("/solutions", {"limit": limit})).data
            assert ([row["id"] for row in page["result"]], page["has_more"]) == (ids[2:], True)
        rest = (await kling.post("/solutions", {"cursor": page["next_cursor"], "limit": 500})).data
        assert [row["id"] for row in rest["result"]] == ids[1::-1]
        for wrong in (501, "5", True, 1.5):
            assert (await kling.post("/solutions", {"limit": wrong})).json["code"] == 1201
        early = {"start_time": str(EPOCH_MS), "end_time": str(EPOCH_MS + 500)}
        assert [row["id"] for row in (await kling.post("/solutions", early)).data["result"]] == ids[:1]

    play(story, dialect="official")


def test_nobody_else_has_solutions() -> None:
    """Neither gateways nor the old host, and no other method or depth of path."""

    async def story(kling: Caller) -> None:
        for method, path in (
            ("GET", GOODS),
            ("POST", "/solutions/e-commerce"),
            ("POST", GOODS + "/more"),
            ("DELETE", "/solutions"),
        ):
            assert (await kling.ask(method, path, json={})).json["code"] == 1202, path
        assert (await kling.post(GOODS, body(), key=token())).json["code"] == 1002

    async def elsewhere(kling: Caller) -> None:
        for method, path in (("POST", GOODS), ("POST", "/solutions"), ("GET", "/solutions?task_ids=1")):
            reply = await kling.ask(method, path, json={})
            assert reply.status == 404
            assert b"<html>" in reply.raw

    play(story, dialect="official")
    for dialect in ("cometapi", "mixed", "official-old-host"):
        play(elsewhere, dialect=dialect)


def test_external_ids_are_burnt_here_too() -> None:
    async def story(kling: Caller) -> None:
        await made(kling, external_task_id="e")
        again = await kling.post(GOODS, body(external_task_id="e"))
        assert "already exists" in again.json["message"]

    play(story, dialect="official")
