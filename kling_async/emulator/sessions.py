"""Sessions: what a synchronous call found in a video, kept for a day for the calls that follow.

Place: under the service. Two kinds: the faces of a video, for lip sync, and the clicked points of a selection, for
multi-elements. Both are state of the account and nothing else; their limits are judged by their rows.
"""

import hashlib

import attrs

from .assets import Asset
from .clips import clip
from .masks import mask
from .pictures import png
from .sources import Medium

# Points are told apart to this many decimals.
_DECIMALS = 6

Point = tuple[float, float]


@attrs.frozen(kw_only=True)
class Face:
    """One face: an id, and from when to when it is seen, in milliseconds."""

    face_id: str
    start_ms: int
    end_ms: int


@attrs.frozen(kw_only=True)
class FaceSession:
    """The faces of one video."""

    session_id: str
    film: Medium
    made_at: float
    faces: tuple[Face, ...]


@attrs.define(kw_only=True)
class Selection:
    """The points clicked on the frames of one video, by number of the frame."""

    session_id: str
    film: Medium
    made_at: float
    points: dict[int, list[Point]] = attrs.field(factory=dict)

    @property
    def fps(self) -> float:
        """Frames per second, assumed when unknown."""
        return self.film.fps or 24.0

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, assumed when unknown."""
        return self.film.width or 1280, self.film.height or 720

    @property
    def total_frame(self) -> int:
        """How many frames the video has."""
        return max(1, round(self.film.length_s * self.fps))

    def add(self, frame: int, points: list[Point]) -> None:
        """Add points to a frame; a point that is there already changes nothing."""
        known = self.points.setdefault(frame, [])
        known += [point for point in points if point not in known]

    def remove(self, frame: int, points: list[Point]) -> bool:
        """Take points away; False, and nothing is done, when one of them was never added."""
        known = self.points.get(frame, [])
        if not all(point in known for point in points):
            return False
        left = [point for point in known if point not in points]
        if left:
            self.points[frame] = left
        else:
            self.points.pop(frame, None)
        return True

    def masks(self, frame: int) -> list[dict[str, object]]:
        """What is selected on a frame: one object, or nothing when it has no points."""
        points = self.points.get(frame)
        return [mask(points, *self.size)] if points else []


def rounded(x: float, y: float) -> Point:
    """A point as it is kept."""
    return round(x, _DECIMALS), round(y, _DECIMALS)


@attrs.define(eq=False)
class Sessions:
    """All sessions of the account; expired ones stay, so that they can be told from unknown ones."""

    faces: dict[str, FaceSession] = attrs.field(factory=dict)
    selections: dict[str, Selection] = attrs.field(factory=dict)
    _made: int = attrs.field(default=0, init=False)

    def open_faces(self, film: Medium, now: float, seed: int) -> FaceSession:
        """A session for the faces of a video; they share its time in equal, overlapping parts."""
        ident = self._ident(seed)
        length_ms = int(film.length_s * 1000)
        count = max(0, film.faces)
        # Each face is seen from its share of the first half to the end.
        faces = tuple(
            Face(face_id=str(number), start_ms=length_ms * number // (2 * count), end_ms=length_ms)
            for number in range(count)
        )
        session = FaceSession(session_id=ident, film=film, made_at=now, faces=faces)
        self.faces[ident] = session
        return session

    def open_selection(self, film: Medium, now: float, seed: int, ident: str | None = None) -> Selection:
        """A session for selecting parts of a video."""
        ident = ident or self._ident(seed)
        session = Selection(session_id=ident, film=film, made_at=now)
        self.selections[ident] = session
        return session

    def name(self, session_id: str, word: str, ending: str) -> str:
        """The name of a file that belongs to a session: a face, a cover, a preview."""
        return f"s-{session_id}-{word}.{ending}"

    def file(self, name: str, now: float) -> Asset | None:
        """The bytes of a session's file, None when there is no such session; `now` is not before its opening."""
        stem, _, ending = name.partition(".")
        parts = stem.split("-")
        if len(parts) != 3 or parts[0] != "s":
            return None
        session = self.faces.get(parts[1]) or self.selections.get(parts[1])
        if session is None or now < session.made_at:
            return None
        if ending == "mp4":
            content, kind = clip("16:9", session.film.length_s, name), "video/mp4"
        else:
            content, kind = png(84, 84, name), "image/png"
        return Asset(content, f'"{hashlib.sha256(content).hexdigest()[:16]}"', kind)

    def _ident(self, seed: int) -> str:
        self._made += 1
        return str(int(hashlib.sha256(f"session/{seed}/{self._made}".encode()).hexdigest()[:14], 16) + 10**17)
