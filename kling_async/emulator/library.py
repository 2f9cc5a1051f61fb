"""The library: elements and voices that were made, and those that are there for everyone.

Place: beside the service. Elements and voices are made by ordinary tasks; here is how they are told, deleted, and
which of them the service itself owns. Source: service reference, "Legacy create endpoints: audio, image, general" and
"Response dialects" D4.
"""

import hashlib
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from . import replies
from .checks import Body, dig, kept, kept_items, kept_text, page_of
from .images import is_url
from .made import Shelf, find_made, is_deleted, made_id
from .refusals import invalid
from .rows import Row
from .tasks import AssetView, Snapshot, Task

if TYPE_CHECKING:
    from .service import Service

Json = dict[str, Any]

# Owners of elements and voices. Presets belong to the service; the other word is assumed.
OWN, PRESET = "emulator", "kling"

# When the presets were made, in Unix seconds; assumed.
_PRESET_AT = 1_735_689_600.0

_ELEMENTS = (
    ("Tabby cat", "A striped cat with green eyes", "o_104"),
    ("City taxi", "A yellow car of the nineties", "o_105"),
    ("Old sailor", "A bearded man in a blue coat", "o_102"),
    ("Paper lantern", "A round lamp of red paper", "o_103"),
)
_VOICES = ("Calm narrator", "Bright girl", "Radio host", "Old storyteller", "Young explorer", "News anchor")


# Telling


def elements_result(snapshot: Snapshot) -> Json:
    """`task_result` of a task that made an element."""
    task = snapshot.task
    row: Json = {
        "element_id": made_id(task),
        "element_name": kept_text(task.body, "element_name"),
        "element_description": kept_text(task.body, "element_description"),
        "reference_type": kept_text(task.body, "reference_type"),
    }
    if kept_text(task.body, "reference_type") == "video_refer":
        row["element_video_list"] = {"refer_videos": [{"video_url": url} for _, url in _references(snapshot)]}
    else:
        (_, frontal), *others = _references(snapshot)
        row["element_image_list"] = {
            "frontal_image": frontal,
            "refer_images": [{"image_url": url} for _, url in others],
        }
    row["element_voice_info"] = _voice_info(snapshot)
    row["tag_list"] = _tags(task)
    row["owned_by"] = _owner(task)
    row["status"] = _status(task)
    return {"elements": [row]}


def elements_outputs(snapshot: Snapshot) -> list[Json]:
    """`outputs` of a task that made an element; the id is a text here."""
    task = snapshot.task
    return [
        {
            "type": "element",
            "id": str(made_id(task)),
            "name": kept_text(task.body, "element_name"),
            "description": kept_text(task.body, "element_description"),
            "element_type": kept_text(task.body, "reference_type"),
            "references": [{"type": kind, "url": url} for kind, url in _references(snapshot)],
            "owned_by": _owner(task),
            "status": _status(task),
            "tags": _tags(task),
        }
    ]


def voices_result(snapshot: Snapshot) -> Json:
    """`task_result` of a task that made a voice."""
    task = snapshot.task
    row = {
        "voice_id": str(made_id(task)),
        "voice_name": kept_text(task.body, "voice_name"),
        "trial_url": snapshot.assets[0].url,
        "owned_by": _owner(task),
    }
    # The page shows no status here; without one a deleted voice would look like any other.
    return {"voices": [{**row, "status": _status(task)} if is_deleted(task) else row]}


def voices_outputs(snapshot: Snapshot) -> list[Json]:
    """`outputs` of a task that made a voice."""
    task = snapshot.task
    return [
        {
            "type": "voice",
            "id": str(made_id(task)),
            "name": kept_text(task.body, "voice_name"),
            "url": snapshot.assets[0].url,
            "owned_by": _owner(task),
            "status": _status(task),
        }
    ]


def _references(snapshot: Snapshot) -> list[tuple[str, str]]:
    """Kind and address of what the element was made from; inline pictures got an address of ours."""
    body, own = snapshot.task.body, snapshot.assets[0].url
    if kept_text(body, "reference_type") == "video_refer":
        return [
            ("refer_video", kept_text(item, "video_url"))
            for item in kept_items(body, "element_video_list.refer_videos")
        ]
    frontal = ("frontal_image", kept_text(body, "element_image_list.frontal_image"))
    others = [
        ("refer_image", kept_text(item, "image_url")) for item in kept_items(body, "element_image_list.refer_images")
    ]
    return [(kind, url if is_url(url) else own) for kind, url in (frontal, *others)]


def _voice_info(snapshot: Snapshot) -> Json:
    voice = kept(snapshot.task.body, "element_voice_id")
    trials: list[AssetView] = [asset for asset in snapshot.assets if asset.kind == "voice"]
    if not voice or not trials:
        return {}
    name = snapshot.task.facts.get("voice_name", "")
    owner = snapshot.task.facts.get("voice_owner", OWN)
    return {"voice_id": str(voice), "voice_name": name, "trial_url": trials[0].url, "owned_by": owner}


def _tags(task: Task) -> list[Json]:
    return [{"tag_id": item.get("tag_id")} for item in kept_items(task.body, "tag_list")]


def _owner(task: Task) -> str:
    return PRESET if task.ordinal < 0 else OWN


def _status(task: Task) -> str:
    return "deleted" if is_deleted(task) else "succeed"


# Deleting


def delete_element(service: "Service", body: Body, now: float) -> Json:
    """Delete an element of one's own."""
    return _delete(service, "elements", dig(body, "element_id"), "Element id not found", now)


def delete_voice(service: "Service", body: Body, now: float) -> Json:
    """Delete a voice of one's own."""
    return _delete(service, "voices", dig(body, "voice_id"), "Voice id not found", now)


def _delete(service: "Service", kind: str, ident: object, sentence: str, now: float) -> Json:
    task = find_made(service, kind, ident, now)
    if task is None or (is_deleted(task) and service.settings.deleted_again == "1201"):
        raise invalid(sentence)
    shelf = task.facts["shelf"]
    assert isinstance(shelf, Shelf)
    shelf.deleted = True
    return {"task_id": task.public_id, "task_status": "succeed"}


# Presets


def preset_tasks(elements: Row, voices: Row) -> tuple[Task, ...]:
    """What was there before any task, as tasks that ended long ago; their ordinals are -1, -2, ..."""
    bodies: list[tuple[Row, Json]] = [
        (
            elements,
            {
                "element_name": name,
                "element_description": words,
                "reference_type": "image_refer",
                "tag_list": [{"tag_id": tag}],
            },
        )
        for name, words, tag in _ELEMENTS
    ]
    bodies += [(voices, {"voice_name": name}) for name in _VOICES]
    return tuple(_preset(row, -1 - at, body) for at, (row, body) in enumerate(bodies))


def _preset(row: Row, ordinal: int, body: Json) -> Task:
    digest = hashlib.sha256(f"preset {ordinal}".encode()).digest()
    ident = str(800_000_000_000_000_000 - ordinal)
    return Task(
        ordinal=ordinal,
        task_id=ident,
        public_id=ident,
        external_id="",
        row=row,
        model=row.model,
        mode="std",
        body=body,
        created_at=_PRESET_AT,
        processing_at=_PRESET_AT,
        ended_at=_PRESET_AT,
        reason="",
        seconds=3.0,
        ratio="1:1",
        watermark=False,
        callback_url="",
        count=1,
        slots=0,
        units=Decimal(0),
        asset_key=int.from_bytes(digest[:8], "big"),
    )


def preset_of(presets: Sequence[Task], kind: str, ident: object) -> Task | None:
    """The preset element ("elements") or voice ("voices") of an id."""
    found = (task for task in presets if task.row.result == (kind,) and str(made_id(task)) == str(ident))
    return next(found, None)


def page_of_presets(
    service: "Service", presets: Sequence[Task], kind: str, query: Body, largest: int, now: float
) -> list[Json]:
    """One page of presets: task-shaped, one each."""
    number, size = page_of(query, largest)
    rows = [task for task in presets if task.row.result == (kind,)][(number - 1) * size : number * size]
    return [replies.legacy_row(service.snapshot(task, now, service.store, service.base, "")) for task in rows]
