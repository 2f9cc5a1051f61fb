"""Rows of the legacy standard beside those of videos: sounds, pictures, elements and voices.

Place: part of the endpoint table, joined here.
"""

from .library_rows import LIBRARY_ROWS
from .picture_rows import PICTURE_ROWS
from .rows import Row
from .sound_rows import SOUND_ROWS

MEDIA_ROWS: tuple[Row, ...] = (*SOUND_ROWS, *PICTURE_ROWS, *LIBRARY_ROWS)
