"""Rows of the new standard: `POST /{operation}/{model}` with contents, settings and options.

Place: the other half of the endpoint table. Source for every limit: service reference, "New-standard create
endpoints". What is misplaced (a top-level `external_task_id`) is ignored here as it is there.
"""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet

import attrs

from .checks import Body, Field, Order, Rule, check_picture, dig, items, seconds_of, text, wrong
from .images import is_url
from .refusals import invalid
from .rows import Row

RATIOS = ("16:9", "9:16", "1:1")
PROMPT_CHARACTERS = 3072
SHORT_PROMPT_CHARACTERS = 2500  # 2.6, 2.5 and motion control
LONG_PROMPT_CHARACTERS = 26_000  # 4.0

_FRAMES = ("first_frame", "last_frame")
_PICTURES = ("first_frame", "middle_frame", "last_frame", "refer_image", "image")
_VIDEOS = ("feature_video", "base_video", "video")
_NAMED = ("element", "voice")

# Means in seconds. Source: service reference, "Generation time"; where it is silent, the figure of the nearest kind.
_MEAN_S = {"text-to-video": 319.0, "image-to-video": 164.0, "omni-video": 240.0, "motion-control": 320.0}
_MEAN_S_OF_MODEL = {"kling-3.0-turbo": 40.0, "kling-4.0": 120.0, "kling-4.0-flash": 60.0}


@attrs.frozen(kw_only=True)
class Spec:
    """One (operation, model): which content types, which settings."""

    operation: str
    model: str
    types: tuple[str, ...]
    needs: tuple[str, ...] = ()
    resolutions: tuple[str, ...] = ("720p", "1080p")
    ratios: tuple[str, ...] = ()
    audio: tuple[str, ...] = ()
    seconds: tuple[int, int] | None = (3, 15)
    lengths: tuple[str, ...] = ()  # the only lengths, where a range would say too much
    prompt: int = PROMPT_CHARACTERS
    elements: int = 0
    weak: bool = False  # takes wrong durations and resolutions at create


def _contents_rule(spec: Spec) -> Rule:
    def check(body: Body) -> None:
        seen: list[str] = []
        names: set[str] = set()
        for position, item in enumerate(items(body, "contents")):
            kind = item.get("type")
            where = f"contents[{position}]"
            if kind not in spec.types:
                raise wrong(f"{where}.type", kind)
            _check_item(spec, where, str(kind), item)
            name = item.get("id")
            if isinstance(name, str) and name:
                if name in names:
                    raise invalid(f"{where}.id '{name}' is not unique")
                names.add(name)
            seen.append(str(kind))
        _check_prompt(spec, body, seen)
        for kind in spec.needs:
            if kind not in seen:
                raise invalid(f"contents type '{kind}' is required")
        _check_mix(spec, seen)

    return check


def _check_item(spec: Spec, where: str, kind: str, item: Body) -> None:
    if kind == "prompt":
        Field("text", "text", required=True, longest=spec.prompt).check(item, "new")
    elif kind in _PICTURES:
        if not item.get("url"):
            raise invalid(f"{where}.url is required")
        check_picture(f"{where}.url", item["url"], "new")
    elif kind in _VIDEOS:
        if not is_url(str(item.get("url", ""))):
            raise wrong(f"{where}.url", item.get("url"))
    else:
        for name in (f"{kind}_id", "id"):
            if not isinstance(item.get(name), str) or not item[name]:
                raise invalid(f"{where}.{name} is required")


def _check_prompt(spec: Spec, body: Body, seen: list[str]) -> None:
    if seen.count("prompt") > 1:
        raise invalid("contents must not have more than one prompt")
    if spec.operation == "text-to-video" and "prompt" not in seen:
        # The pages show a top-level prompt here; the contents form is taken too.
        Field("prompt", "text", required=True, longest=spec.prompt).check(body, "new")


def _check_mix(spec: Spec, seen: list[str]) -> None:
    if "last_frame" in seen and "first_frame" not in seen:
        raise invalid("a last_frame requires a first_frame")
    if seen.count("element") > (spec.elements or len(seen)):
        raise invalid(f"contents must not have more than {spec.elements} elements")
    if spec.operation == "omni-video":
        videos = sum(seen.count(kind) for kind in ("feature_video", "base_video"))
        inputs = seen.count("refer_image") + seen.count("element") + sum(seen.count(frame) for frame in _FRAMES)
        allowed = _omni_inputs(spec, with_video=videos > 0)
        if inputs > allowed:
            raise invalid(f"contents must not have more than {allowed} images and elements")
        if videos > (5 if _is_four(spec) else 1):
            raise invalid("contents must not have more than one video")
        if "base_video" in seen and any(frame in seen for frame in _FRAMES):
            raise invalid("base_video and frames cannot be used together")
    for kind in _FRAMES:
        if seen.count(kind) > 1:
            raise invalid(f"contents must not have more than one {kind}")
    if seen.count("middle_frame") > 8:
        raise invalid("contents must not have more than 8 middle_frames")


def _is_four(spec: Spec) -> bool:
    return spec.model.startswith("kling-4.0")


def _omni_inputs(spec: Spec, *, with_video: bool) -> int:
    if _is_four(spec):
        return 15
    return 4 if with_video else 7


def _settings_rule(spec: Spec) -> Rule:
    def check(body: Body) -> None:
        kinds = {item.get("type") for item in items(body, "contents")}
        audio, multi_shot = dig(body, "settings.audio"), dig(body, "settings.multi_shot")
        if "feature_video" in kinds and multi_shot is False:
            raise invalid("settings.multi_shot must be true with a feature_video")
        if kinds & {"feature_video", "base_video"} and audio == "native":
            raise invalid("settings.audio native cannot be used with a reference video")
        if "base_video" in kinds and multi_shot is True:
            raise invalid("settings.multi_shot cannot be used with a base_video")
        given = kinds & {"first_frame", "feature_video", "base_video"}
        if spec.operation == "omni-video" and not given and not dig(body, "settings.aspect_ratio"):
            raise invalid("settings.aspect_ratio is required without a first frame or a reference video")
        if spec.model == "kling-2.6":
            _check_two_six(body, kinds)

    return check


def _check_two_six(body: Body, kinds: AbstractSet[object]) -> None:
    """What version 2.6 ties to 1080p: sound, voices, and a silent last frame."""
    full = dig(body, "settings.resolution") == "1080p"
    native = dig(body, "settings.audio") == "native"
    if (native or "voice" in kinds) and not full:
        raise invalid("settings.audio native is only supported with resolution 1080p")
    if "last_frame" in kinds and (native or not full):
        raise invalid("a last_frame is only supported with resolution 1080p and audio off")


def _read(row: Row, body: Body) -> Order:
    contents = items(body, "contents")
    kinds = {item.get("type") for item in contents}
    prompts = [text(item, "text") for item in contents if item.get("type") == "prompt"]
    resolution = text(body, "settings.resolution")
    seconds = seconds_of(body, "settings.duration", 5)
    return Order(
        model=row.model,
        prompt=" ".join([text(body, "prompt"), *prompts]).strip(),
        # What comes out of an impossible length is not known; a possible one keeps the file playable.
        seconds=min(max(seconds, 3.0), 30.0),
        ratio=text(body, "settings.aspect_ratio") or None,
        mode="4k" if resolution == "4k" else "pro" if resolution == "1080p" else "std",
        sound=dig(body, "settings.audio") == "native" or row.model in _ALWAYS_SOUND,
        voice="voice" in kinds,
        video_input=bool(kinds & {"feature_video", "base_video"}),
        watermark=dig(body, "options.watermark_info.enabled") is True,
        external_id=text(body, "options.external_task_id"),
        callback_url=text(body, "options.callback_url"),
        pictures=tuple(_pictures(contents)),
        defect="resolution 480p is not supported" if resolution == "480p" else "",
    )


def _pictures(contents: Iterable[Body]) -> list[str]:
    return [text(item, "url") for item in contents if item.get("type") in _PICTURES and text(item, "url")]


def _row(spec: Spec) -> Row:
    resolutions = (*spec.resolutions, "480p") if spec.weak else spec.resolutions
    low, high = (None, None) if spec.weak or not spec.seconds else (spec.seconds[0], spec.seconds[1])
    fields = [
        Field("contents", "list", required=spec.operation != "text-to-video"),
        Field("settings", "object"),
        Field("settings.resolution", "text", choices=resolutions),
        Field("settings.seed", "integer"),
        Field("settings.multi_shot", "flag"),
        Field("options", "object"),
        Field("options.external_task_id", "text"),
        Field("options.callback_url", "text"),
        Field("options.watermark_info", "object"),
        Field("options.watermark_info.enabled", "flag"),
    ]
    if spec.seconds:
        fields.append(Field("settings.duration", "integer", low=low, high=high, choices=spec.lengths))
    if spec.ratios:
        fields.append(Field("settings.aspect_ratio", "text", choices=spec.ratios))
    if spec.audio:
        fields.append(Field("settings.audio", "text", choices=spec.audio))
    if spec.operation == "motion-control":
        fields.append(Field("settings.character_orientation", "text", required=True, choices=("image", "video")))
    return Row(
        name=f"{spec.operation}/{spec.model}",
        path=f"/{spec.operation}/{spec.model}",
        standard="new",
        model=spec.model,
        fields=tuple(fields),
        rules=(_contents_rule(spec), _settings_rule(spec)),
        read=_read,
        action="textGenerate" if spec.operation == "text-to-video" else "generate",
        mean_s=_MEAN_S[spec.operation],
        mean_s_of_model=_MEAN_S_OF_MODEL,
    )


_WITH_SOUND = ("native", "off")
_OMNI = ("prompt", *_FRAMES, "refer_image", "feature_video", "base_video", "element")
# Taken by the validator of the omni path and then ignored. Source: service reference, "Omni, wrong generic types".
_GENERIC = ("image", "video", "voice")
_FOUR_FRAMES = ("prompt", "first_frame", "middle_frame", "last_frame")
_ALWAYS_SOUND = frozenset({"kling-3.0-turbo", "kling-4.0", "kling-4.0-flash"})

SPECS: tuple[Spec, ...] = (
    Spec(operation="text-to-video", model="kling-3.0-turbo", types=("prompt",), ratios=RATIOS),
    Spec(
        operation="image-to-video",
        model="kling-3.0-turbo",
        types=("prompt", "first_frame"),
        needs=("first_frame",),
    ),
    Spec(
        operation="text-to-video",
        model="kling-3.0",
        types=("prompt",),
        resolutions=("720p", "1080p", "4k"),
        ratios=RATIOS,
        audio=_WITH_SOUND,
    ),
    Spec(
        operation="image-to-video",
        model="kling-3.0",
        types=("prompt", *_FRAMES, "element"),
        needs=("first_frame",),
        resolutions=("720p", "1080p", "4k"),
        audio=_WITH_SOUND,
        elements=3,
    ),
    *(
        Spec(
            operation="omni-video",
            model=model,
            types=(*_OMNI, *_GENERIC),
            resolutions=("720p", "1080p", "4k"),
            ratios=RATIOS,
            audio=("native", "original", "off"),
            weak=True,
        )
        for model in ("kling-3.0-omni", "kling-v3-omni")
    ),
    Spec(operation="omni-video", model="kling-o1", types=(*_OMNI, *_GENERIC), ratios=RATIOS, seconds=(3, 10)),
    Spec(
        operation="text-to-video",
        model="kling-2.6",
        types=("prompt",),
        ratios=RATIOS,
        audio=_WITH_SOUND,
        lengths=("5", "10"),
        prompt=SHORT_PROMPT_CHARACTERS,
    ),
    Spec(
        operation="image-to-video",
        model="kling-2.6",
        types=("prompt", *_FRAMES, "voice"),
        needs=("first_frame",),
        audio=_WITH_SOUND,
        lengths=("5", "10"),
        prompt=SHORT_PROMPT_CHARACTERS,
    ),
    Spec(
        operation="text-to-video",
        model="kling-2.5-turbo",
        types=("prompt",),
        ratios=RATIOS,
        lengths=("5", "10"),
        prompt=SHORT_PROMPT_CHARACTERS,
    ),
    Spec(
        operation="image-to-video",
        model="kling-2.5-turbo",
        types=("prompt", *_FRAMES),
        needs=("first_frame",),
        lengths=("5", "10"),
        prompt=SHORT_PROMPT_CHARACTERS,
    ),
    *(
        Spec(
            operation="motion-control",
            model=model,
            types=("prompt", "image", "video", *(("element",) if elements else ())),
            needs=("image", "video"),
            audio=("original", "off"),
            seconds=None,
            prompt=SHORT_PROMPT_CHARACTERS,
            elements=elements,
        )
        for model, elements in (("kling-3.0", 1), ("kling-2.6", 0))
    ),
    *(
        spec
        for model, longest, resolutions in (
            ("kling-4.0", 30, ("720p", "1080p")),
            ("kling-4.0-flash", 20, ("720p",)),
        )
        for spec in (
            Spec(
                operation="text-to-video",
                model=model,
                types=("prompt",),
                resolutions=resolutions,
                ratios=(*RATIOS, "21:9"),
                seconds=(3, longest),
                prompt=LONG_PROMPT_CHARACTERS,
            ),
            Spec(
                operation="image-to-video",
                model=model,
                types=_FOUR_FRAMES,
                needs=("first_frame",),
                resolutions=resolutions,
                seconds=(3, longest),
                prompt=LONG_PROMPT_CHARACTERS,
            ),
            Spec(
                operation="omni-video",
                model=model,
                types=(*_FOUR_FRAMES, "refer_image", "feature_video", "base_video", *_NAMED),
                resolutions=resolutions,
                ratios=(*RATIOS, "21:9"),
                seconds=(3, longest),
                prompt=LONG_PROMPT_CHARACTERS,
                elements=7,
            ),
        )
    ),
)

NEW_ROWS: tuple[Row, ...] = tuple(_row(spec) for spec in SPECS)
