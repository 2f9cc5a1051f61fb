"""Subtitles of any length, as SubRip and as Advanced SubStation.

Place: under assets; made by the solutions that caption a video.
"""

# Seconds that each line stands.
_LINE_S = 2.0

_ASS_HEAD = """[Script Info]
ScriptType: v4.00+
PlayResX: 384
PlayResY: 288

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, Bold, Italic, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&H00FFFFFF,0,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def srt(seconds: float, tag: str = "") -> bytes:
    """A SubRip file whose lines cover so many seconds."""
    blocks = [
        f"{number}\n{_clock(start, ',', 3)} --> {_clock(end, ',', 3)}\n{tag} {number}\n"
        for number, start, end in _lines(seconds)
    ]
    return "\n".join(blocks).encode()


def ass(seconds: float, tag: str = "") -> bytes:
    """An Advanced SubStation file whose lines cover so many seconds."""
    lines = [
        f"Dialogue: 0,{_clock(start, '.', 2)[1:]},{_clock(end, '.', 2)[1:]},Default,,0,0,0,,{tag} {number}\n"
        for number, start, end in _lines(seconds)
    ]
    return (_ASS_HEAD + "".join(lines)).encode()


def _lines(seconds: float) -> list[tuple[int, float, float]]:
    count = max(1, -int(-seconds // _LINE_S))
    return [(at + 1, at * _LINE_S, min(seconds, (at + 1) * _LINE_S)) for at in range(count)]


def _clock(seconds: float, point: str, places: int) -> str:
    ticks = round(seconds * 10**places)
    whole, rest = divmod(ticks, 10**places)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}{point}{rest:0{places}}"
