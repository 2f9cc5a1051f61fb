"""Which model of the new standard can do what, as data: it moves, so it warns and never refuses.

Stage: registry and wire. Source of every row stands in it. An unknown model gets no advice: the service adds models
without telling us.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from .matrix import names


@attrs.frozen(kw_only=True)
class Most:
    """At most so many items of these types together, when the condition holds.

    Attributes:
        count: the limit.
        types: what is counted.
        beside: the limit holds only beside an item of one of these types; empty for always.
    """

    count: int
    types: frozenset[str]
    beside: frozenset[str] = frozenset()


@attrs.frozen(kw_only=True)
class Able:
    """What one model can do in one operation.

    Attributes:
        source: where this is from.
        seconds: lengths of a clip; empty where the clip follows a video.
        contents: types of items that it takes.
        settings: settings that it takes.
        resolutions, ratios, audio: their values.
        prompt: longest prompt in ASCII characters, and with others.
        native_at: resolutions with native audio.
        last_frame_at: resolutions that take a last frame.
        last_frame_silent: a last frame excludes audio.
        voice_at: resolutions that take a voice.
        most: limits on the number of items.
    """

    source: str
    seconds: frozenset[int] = frozenset()
    contents: frozenset[str] = frozenset()
    settings: frozenset[str]
    resolutions: frozenset[str]
    ratios: frozenset[str] = frozenset()
    audio: frozenset[str] = frozenset()
    prompt: tuple[int, int] = (3072, 3072)
    native_at: frozenset[str] | None = None
    last_frame_at: frozenset[str] | None = None
    last_frame_silent: bool = False
    voice_at: frozenset[str] | None = None
    most: tuple[Most, ...] = ()


_WIDE, _MORE, _ALL = names("1080p"), names("720p 1080p"), names("720p 1080p 4k")
_RATIOS = names("16:9 9:16 1:1")
_NATIVE, _OMNI_AUDIO, _KEPT = names("native off"), names("native original off"), names("original off")
_3_15, _3_10, _5_10 = frozenset(range(3, 16)), frozenset(range(3, 11)), frozenset({5, 10})
_TEXT_3 = names("multi_shot audio resolution aspect_ratio duration")
_TEXT_2 = names("audio resolution aspect_ratio duration")
_MOTION = names("character_orientation audio resolution")
_OMNI = names("prompt first_frame last_frame refer_image feature_video base_video element")
_FRAMES = names("first_frame last_frame")
_VIDEOS = names("feature_video base_video")
_OLDER = (2500, 2500)
_40 = (26_000, 11_000)

# Source: service reference, "Omni Video", limits. Which elements are video characters the id does not tell, so the
# limits that depend on it are left to the service.
_OMNI_MOST = (
    Most(count=1, types=_VIDEOS),
    Most(count=7, types=names("refer_image element")),
    Most(count=4, types=names("refer_image element"), beside=_VIDEOS),
    Most(count=3, types=names("element"), beside=_FRAMES),
)
_OMNI_40_MOST = (
    Most(count=15, types=(_OMNI | names("middle_frame voice")) - names("prompt")),
    Most(count=10, types=names("first_frame middle_frame last_frame refer_image")),
    Most(count=1, types=names("base_video")),
    Most(count=5, types=_VIDEOS),
    Most(count=7, types=names("element")),
    Most(count=3, types=names("voice")),
)
_3_OMNI = Able(
    source="service reference, Omni Video (3.0 Omni)",
    seconds=_3_15,
    contents=_OMNI,
    settings=_TEXT_3,
    resolutions=_ALL,
    ratios=_RATIOS,
    audio=_OMNI_AUDIO,
    most=_OMNI_MOST,
)


def _able_40(seconds: int, resolutions: frozenset[str], source: str) -> dict[str, Able]:
    base = Able(
        source=source,
        seconds=frozenset(range(3, seconds + 1)),
        # Sound is always on, so there is nothing to set.
        settings=names("resolution aspect_ratio duration"),
        resolutions=resolutions,
        ratios=_RATIOS | names("21:9"),
        prompt=_40,
    )
    frames = names("first_frame middle_frame last_frame")
    return {
        "text-to-video": base,
        "image-to-video": attrs.evolve(
            base,
            contents=names("prompt") | frames,
            settings=base.settings - names("aspect_ratio"),
            ratios=frozenset(),
            most=(Most(count=10, types=frames), Most(count=8, types=names("middle_frame"))),
        ),
        "omni-video": attrs.evolve(base, contents=_OMNI | frames | names("voice"), ratios=_RATIOS, most=_OMNI_40_MOST),
    }


_FLAGSHIP = _able_40(30, _MORE, "partners' pages of Kling 4.0; the official path is inferred from the family")
_FLASH = _able_40(20, names("720p"), "partners' pages of Kling 4.0 Flash; the official path is inferred")

MODELS: Mapping[tuple[str, str], Able] = {
    ("text-to-video", "kling-3.0-turbo"): Able(
        source="gateway pages of 3.0 Turbo",
        seconds=_3_15,
        settings=names("resolution aspect_ratio duration"),
        resolutions=_MORE,
        ratios=_RATIOS,
    ),
    ("image-to-video", "kling-3.0-turbo"): Able(
        source="copy of the service reference, Image to Video (3.0 Turbo)",
        seconds=_3_15,
        contents=names("prompt first_frame"),
        settings=names("resolution duration"),
        resolutions=_MORE,
    ),
    ("text-to-video", "kling-3.0"): Able(
        source="service reference, Text to Video (3.0)",
        seconds=_3_15,
        settings=_TEXT_3,
        resolutions=_ALL,
        ratios=_RATIOS,
        audio=_NATIVE,
    ),
    ("image-to-video", "kling-3.0"): Able(
        source="service reference, Image to Video (3.0)",
        seconds=_3_15,
        contents=names("prompt element") | _FRAMES,
        settings=_TEXT_3 - names("aspect_ratio"),
        resolutions=_ALL,
        audio=_NATIVE,
        most=(Most(count=3, types=names("element")),),
    ),
    ("omni-video", "kling-3.0-omni"): _3_OMNI,
    ("omni-video", "kling-o1"): Able(
        source="service reference, Capability Map (O1)",
        seconds=_3_10,
        contents=_OMNI,
        settings=_TEXT_2,
        resolutions=_MORE,
        ratios=_RATIOS,
        audio=_KEPT,
        most=_OMNI_MOST,
    ),
    ("text-to-video", "kling-2.6"): Able(
        source="service reference, Text to Video (2.6)",
        seconds=_5_10,
        settings=_TEXT_2,
        resolutions=_MORE,
        ratios=_RATIOS,
        audio=_NATIVE,
        prompt=_OLDER,
        native_at=_WIDE,
    ),
    ("image-to-video", "kling-2.6"): Able(
        source="service reference, Capability Map (2.6)",
        seconds=_5_10,
        contents=names("prompt voice") | _FRAMES,
        settings=_TEXT_2 - names("aspect_ratio"),
        resolutions=_MORE,
        audio=_NATIVE,
        prompt=_OLDER,
        native_at=_WIDE,
        last_frame_at=_WIDE,
        last_frame_silent=True,
        voice_at=_WIDE,
    ),
    ("text-to-video", "kling-2.5-turbo"): Able(
        source="service reference, Capability Map (2.5 Turbo)",
        seconds=_5_10,
        settings=names("resolution aspect_ratio duration"),
        resolutions=_MORE,
        ratios=_RATIOS,
        prompt=_OLDER,
    ),
    ("image-to-video", "kling-2.5-turbo"): Able(
        source="service reference, Capability Map (2.5 Turbo)",
        seconds=_5_10,
        contents=names("prompt") | _FRAMES,
        settings=names("resolution duration"),
        resolutions=_MORE,
        prompt=_OLDER,
        last_frame_at=_WIDE,
    ),
    ("motion-control", "kling-3.0"): Able(
        source="service reference, Motion Control 3.0",
        contents=names("prompt image video element"),
        settings=_MOTION,
        resolutions=_MORE,
        audio=_KEPT,
        prompt=_OLDER,
        most=(Most(count=1, types=names("element")),),
    ),
    ("motion-control", "kling-2.6"): Able(
        source="service reference, Motion Control 2.6",
        contents=names("prompt image video"),
        settings=_MOTION,
        resolutions=_MORE,
        audio=_KEPT,
        prompt=_OLDER,
    ),
    **{(operation, "kling-4.0"): able for operation, able in _FLAGSHIP.items()},
}
"""What is documented, and what the registry has a row for."""

UNLISTED: Mapping[tuple[str, str], Able] = {
    # Source: a third party's real calls, September 2026, beside the documented kling-3.0-omni.
    ("omni-video", "kling-v3-omni"): _3_OMNI,
    **{(operation, "kling-4.0-flash"): able for operation, able in _FLASH.items()},
}
"""Models that were seen to answer or to be announced, without a page that gives their path."""


def able_of(operation: str, model: str) -> Able | None:
    """Give what a model is known to do; None for a model nobody has told of."""
    return MODELS.get((operation, model)) or UNLISTED.get((operation, model))
