"""What a new-standard body may hold: content types, how they mix, settings that exclude each other, shots.

Place: under `new_rows.py`, which lists the models. Source for every limit: service reference, "New-standard create
endpoints", "Kling 4.0" and "Rules shared by many endpoints". References by `@id` in a prompt are not looked at, as
nothing says that the service does.
"""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet

import attrs

from .checks import Body, Field, Rule, check_picture, dig, items, text, wrong
from .images import is_url
from .refusals import invalid

FRAMES = ("first_frame", "last_frame")
PICTURES = ("first_frame", "middle_frame", "last_frame", "refer_image", "image")
VIDEOS = ("feature_video", "base_video", "video")
PROMPT_CHARACTERS = 3072

# Longest prompt of 4.0: so many English characters, or so many others; a mixture is weighed.
LONG_PROMPT_CHARACTERS, LONG_PROMPT_OTHERS = 26_000, 11_000

# Shots written into a prompt: "shot 1, 3, words; shot 2, 2, words", in English or Chinese.
_SHOT = re.compile(r"\s*(?:shot|镜头)\s*(\d+)\s*,\s*(\d+)\s*,\s*(.*)", re.DOTALL | re.IGNORECASE)
SHOTS, SHOT_CHARACTERS = 6, 512


@attrs.frozen(kw_only=True)
class Spec:
    """One (operation, model): which content types, which settings."""

    operation: str
    model: str
    path_model: str = ""  # the word in the path, where it is not the model
    types: tuple[str, ...]
    ignored: tuple[str, ...] = ()  # types that the validator takes and nobody reads
    needs: tuple[str, ...] = ()
    resolutions: tuple[str, ...] = ("720p", "1080p")
    ratios: tuple[str, ...] = ()
    audio: tuple[str, ...] = ()
    multi_shot: bool = False
    seconds: tuple[int, int] | None = (3, 15)
    lengths: tuple[str, ...] = ()  # the only lengths, where a range would say too much
    prompt: int = PROMPT_CHARACTERS
    elements: int = 0
    weak: bool = False  # takes wrong durations and resolutions at create

    @property
    def name(self) -> str:
        """Operation and model, as in the path."""
        return f"{self.operation}/{self.path_model or self.model}"

    @property
    def is_four(self) -> bool:
        """Whether the limits of 4.0 hold."""
        return self.model.startswith("kling-4.0")


def contents_rule(spec: Spec) -> Rule:
    """The rule for `contents`: each item by itself, then all of them together."""

    def check(body: Body) -> None:
        seen: list[str] = []
        names: set[str] = set()
        for position, item in enumerate(items(body, "contents")):
            kind = item.get("type")
            where = f"contents[{position}]"
            if kind in spec.ignored:
                continue
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
        _check_weight(spec, text(item, "text"))
    elif kind in PICTURES:
        if not item.get("url"):
            raise invalid(f"{where}.url is required")
        check_picture(f"{where}.url", item["url"], "new")
    elif kind in VIDEOS:
        if not is_url(str(item.get("url", ""))):
            raise wrong(f"{where}.url", item.get("url"))
    else:
        for name in (f"{kind}_id", "id"):
            if not isinstance(item.get(name), str) or not item[name]:
                raise invalid(f"{where}.{name} is required")


def _check_weight(spec: Spec, words: str) -> None:
    if not spec.is_four:
        return
    english = sum(character.isascii() for character in words)
    if english / LONG_PROMPT_CHARACTERS + (len(words) - english) / LONG_PROMPT_OTHERS > 1:
        raise invalid(f"text must not be longer than {LONG_PROMPT_OTHERS} characters that are not English")


def _check_prompt(spec: Spec, body: Body, seen: list[str]) -> None:
    if seen.count("prompt") > 1:
        raise invalid("contents must not have more than one prompt")
    if spec.operation == "text-to-video" and "prompt" not in seen:
        # The pages show a top-level prompt here; the contents form is taken too.
        Field("prompt", "text", required=True, longest=spec.prompt).check(body, "new")
        _check_weight(spec, text(body, "prompt"))


def _check_mix(spec: Spec, seen: list[str]) -> None:
    if "last_frame" in seen and "first_frame" not in seen:
        raise invalid("a last_frame requires a first_frame")
    if seen.count("element") > (spec.elements or len(seen)):
        raise invalid(f"contents must not have more than {spec.elements} elements")
    for kind in FRAMES:
        if seen.count(kind) > 1:
            raise invalid(f"contents must not have more than one {kind}")
    if seen.count("middle_frame") > 8:
        raise invalid("contents must not have more than 8 middle_frames")
    if spec.operation == "omni-video":
        if spec.is_four:
            _check_four_mix(seen)
        else:
            _check_omni_mix(seen)


def _check_omni_mix(seen: list[str]) -> None:
    videos = seen.count("feature_video") + seen.count("base_video")
    frames = sum(seen.count(frame) for frame in FRAMES)
    if videos > 1:
        raise invalid("contents must not have more than one video")
    if "base_video" in seen and frames:
        raise invalid("base_video and frames cannot be used together")
    allowed = 4 if videos else 7
    if seen.count("refer_image") + seen.count("element") + frames > allowed:
        raise invalid(f"contents must not have more than {allowed} images and elements")
    if frames and seen.count("element") > 3:
        raise invalid("contents must not have more than 3 elements with frames")


def _check_four_mix(seen: list[str]) -> None:
    counts = {
        "images": sum(kind in PICTURES for kind in seen),
        "videos": sum(kind in VIDEOS for kind in seen),
        "elements": seen.count("element"),
        "voices": seen.count("voice"),
    }
    if sum(counts.values()) > 15:
        raise invalid("contents must not have more than 15 images and elements, videos and voices")
    for word, most in (("images", 10), ("videos", 5), ("elements", 7), ("voices", 3)):
        if counts[word] > most:
            raise invalid(f"contents must not have more than {most} {word}")
    if seen.count("base_video") > 1:
        raise invalid("contents must not have more than one base_video")


def settings_rule(spec: Spec) -> Rule:
    """The rule for `settings`: what excludes what, and shots in the prompt."""

    def check(body: Body) -> None:
        kinds = {item.get("type") for item in items(body, "contents")} - set(spec.ignored)
        if spec.operation == "omni-video":
            _check_omni_settings(spec, body, kinds)
        if spec.operation == "motion-control":
            is_video = dig(body, "settings.character_orientation") == "video"
            if "element" in kinds and not is_video:
                raise invalid("settings.character_orientation must be video with an element")
        if spec.model == "kling-2.6":
            _check_two_six(body, kinds)
        if spec.model == "kling-2.5-turbo" and "last_frame" in kinds:
            _needs_full(body, "a last_frame is only supported with resolution 1080p")
        if spec.multi_shot and dig(body, "settings.multi_shot") is not False:
            _check_shots(body)

    return check


def _check_omni_settings(spec: Spec, body: Body, kinds: AbstractSet[object]) -> None:
    audio, multi_shot = dig(body, "settings.audio"), dig(body, "settings.multi_shot")
    if spec.multi_shot:
        if "feature_video" in kinds and multi_shot is False:
            raise invalid("settings.multi_shot must be true with a feature_video")
        if "base_video" in kinds and multi_shot is True:
            raise invalid("settings.multi_shot cannot be used with a base_video")
    if spec.audio:
        if kinds & {"feature_video", "base_video"} and audio == "native":
            raise invalid("settings.audio native cannot be used with a reference video")
        if "feature_video" in kinds and audio == "original":
            raise invalid("settings.audio must be off with a feature_video")
    given = kinds & {"first_frame", "feature_video", "base_video"}
    if not spec.is_four and not given and not dig(body, "settings.aspect_ratio"):
        raise invalid("settings.aspect_ratio is required without a first frame or a reference video")
    if spec.model == "kling-o1" and not kinds - {"prompt", "first_frame"}:
        Field("settings.duration", "integer", choices=("5", "10")).check(body, "new")


def _check_two_six(body: Body, kinds: AbstractSet[object]) -> None:
    """What version 2.6 ties to 1080p: sound, voices, and a silent last frame."""
    native = dig(body, "settings.audio") == "native"
    if native or "voice" in kinds:
        _needs_full(body, "settings.audio native is only supported with resolution 1080p")
    if "last_frame" in kinds:
        words = "a last_frame is only supported with resolution 1080p and audio off"
        _needs_full(body, words)
        if native:
            raise invalid(words)


def _needs_full(body: Body, words: str) -> None:
    if dig(body, "settings.resolution") != "1080p":
        raise invalid(words)


def prompt_of(body: Body) -> str:
    """The prompt, at the top level or among the contents."""
    prompts = [text(item, "text") for item in items(body, "contents") if item.get("type") == "prompt"]
    return " ".join([text(body, "prompt"), *prompts]).strip()


def _check_shots(body: Body) -> None:
    """A prompt that begins like a shot is read as shots, and then has to be right."""
    prompt = prompt_of(body)
    if not _SHOT.match(prompt):
        return
    shots = [part for part in prompt.split(";") if part.strip()]
    if len(shots) > SHOTS:
        raise invalid(f"prompt must not have more than {SHOTS} shots")
    total = 0
    for number, part in enumerate(shots, 1):
        match = _SHOT.fullmatch(part)
        if match is None or int(match[1]) != number:
            raise invalid(f"prompt is invalid: shot {number} is not of the form 'shot {number}, seconds, words'")
        if int(match[2]) < 1:
            raise invalid(f"prompt is invalid: shot {number} must be at least 1 second long")
        if len(match[3]) > SHOT_CHARACTERS:
            raise invalid(f"prompt is invalid: shot {number} must not be longer than {SHOT_CHARACTERS} characters")
        total += int(match[2])
    if total != (dig(body, "settings.duration") or 5):
        raise invalid("prompt is invalid: the seconds of the shots must add up to settings.duration")


def settings_fields(spec: Spec, *, strict: bool = False) -> list[Field]:
    """The fields of `settings` that a model reads; a weak one reads them loosely unless `strict`."""
    weak = spec.weak and not strict
    fields = [
        Field("settings.resolution", "text", choices=(*spec.resolutions, "480p") if weak else spec.resolutions),
        Field("settings.seed", "integer"),
    ]
    if spec.multi_shot:
        fields.append(Field("settings.multi_shot", "flag"))
    if spec.seconds:
        low, high = (None, None) if weak else spec.seconds
        fields.append(Field("settings.duration", "integer", low=low, high=high, choices=spec.lengths))
    if spec.ratios:
        fields.append(Field("settings.aspect_ratio", "text", choices=spec.ratios))
    if spec.audio:
        fields.append(Field("settings.audio", "text", choices=spec.audio))
    if spec.operation == "motion-control":
        fields.append(Field("settings.character_orientation", "text", required=True, choices=("image", "video")))
    return fields


def first(contents: list[Mapping[str, object]], *kinds: str) -> str:
    """The URL of the first item of one of these kinds, "" when there is none."""
    return next((text(item, "url") for item in contents if item.get("type") in kinds), "")
