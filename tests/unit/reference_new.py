"""What the reference lists for the new standard: per operation and model, the types of contents, settings and options.

Written from the tables of sections 4, 4.1, 7 and 8 of the service reference, not from the package: tests compare both.
"""

from collections.abc import Mapping


def names(*lines: str) -> frozenset[str]:
    return frozenset(name for line in lines for name in line.split())


_OPTIONS = names("callback_url external_task_id watermark_info")
_TEXT = names("prompt settings options")
_CONTENTS = names("contents settings options")
_OMNI = names("prompt first_frame last_frame refer_image feature_video base_video element")


def _text(settings: str) -> Mapping[str, frozenset[str]]:
    return {"top": _TEXT, "contents": frozenset(), "settings": names(settings), "options": _OPTIONS}


def _contents(types: frozenset[str], settings: str) -> Mapping[str, frozenset[str]]:
    return {"top": _CONTENTS, "contents": types, "settings": names(settings), "options": _OPTIONS}


_ORIENTED = "character_orientation audio resolution"

REFERENCE_NEW: Mapping[str, Mapping[str, frozenset[str]]] = {
    "text-to-video/kling-3.0-turbo": _text("resolution aspect_ratio duration"),
    "text-to-video/kling-3.0": _text("multi_shot audio resolution aspect_ratio duration"),
    "text-to-video/kling-2.6": _text("audio resolution aspect_ratio duration"),
    "text-to-video/kling-2.5-turbo": _text("resolution aspect_ratio duration"),
    "text-to-video/kling-4.0": _text("resolution aspect_ratio duration"),
    "image-to-video/kling-3.0-turbo": _contents(names("prompt first_frame"), "resolution duration"),
    "image-to-video/kling-3.0": _contents(
        names("prompt first_frame last_frame element"), "multi_shot audio resolution duration"
    ),
    "image-to-video/kling-2.6": _contents(names("prompt first_frame last_frame voice"), "audio resolution duration"),
    "image-to-video/kling-2.5-turbo": _contents(names("prompt first_frame last_frame"), "resolution duration"),
    "image-to-video/kling-4.0": _contents(names("prompt first_frame middle_frame last_frame"), "resolution duration"),
    "omni-video/kling-3.0-omni": _contents(_OMNI, "multi_shot audio resolution aspect_ratio duration"),
    "omni-video/kling-o1": _contents(_OMNI, "audio resolution aspect_ratio duration"),
    "omni-video/kling-4.0": _contents(_OMNI | names("middle_frame voice"), "resolution aspect_ratio duration"),
    "motion-control/kling-3.0": _contents(names("prompt image video element"), _ORIENTED),
    "motion-control/kling-2.6": _contents(names("prompt image video"), _ORIENTED),
}
"""Row → the fields of its body, and of the three objects in it."""

CONTENT_FIELDS: Mapping[str, frozenset[str]] = {
    "prompt": names("type text"),
    **dict.fromkeys(
        (
            *("first_frame", "middle_frame", "last_frame", "refer_image"),
            "feature_video",
            "base_video",
            "image",
            "video",
        ),
        names("type url id"),
    ),
    "element": names("type element_id id"),
    "voice": names("type voice_id id"),
}
"""Type of an item of contents → its fields."""

SETTINGS = names("multi_shot audio resolution aspect_ratio duration character_orientation")
"""Every setting that a page of the service lists; `seed` was only seen accepted."""

SOLUTIONS: Mapping[str, Mapping[str, frozenset[str]]] = {
    "solutions/e-commerce/goods_studio": {
        "top": _CONTENTS,
        "contents": names("ref_image goods_title goods_description"),
        "settings": names("resolution aspect_ratio duration"),
        "options": names("callback_url external_task_id watermark"),
    },
}

ACCOUNT: Mapping[str, frozenset[str]] = {
    "account/costs": names("start_time end_time resource_pack_name"),
    "account/billing/balance": names("start_time end_time cursor limit filters"),
    "account/billing/package": names("start_time end_time cursor limit filters"),
}
