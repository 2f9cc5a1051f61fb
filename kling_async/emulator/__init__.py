"""The service in a box: an emulator of the Kling API for tests, demonstrations and offline work.

Place: a door beside the client, and an independent witness: it is written from the service's reference and imports
nothing of the client, so that the two cannot be wrong together.

    async with Emulator(dialect="official", speed=60) as emulator:
        ...  # point a client at emulator.url with emulator.api_key

A request travels `server` (HTTP) -> `routes` (which endpoint) -> `faults` (does it break?) -> `desk` (credentials,
question, answer) -> `service` (tasks, slots, prices), and back through `replies` and `dialects` into the words of
one family of hosts. The modules called `..._rows`, `solutions` and `account` are the endpoint table; `assets`, with
`clips`, `pictures`, `sounds` and `subtitles`, makes the files that `wares` says a task has. Beside it, `record` writes
down what a real host answers, as `tape` keeps it, and plays it back.
`clips`, `pictures`, `sounds` and `subtitles`, makes the files that `wares` says a task has. `callbacks` posts to the
addresses that creates named.
"""

from .callbacks import CallbackPlan
from .faults import Fault, FaultPlan
from .packs import ResourcePack
from .record import Player, Recorder
from .server import Emulator, LoggedRequest, serve
from .tasks import CallbackRecord, CallRecord, TaskRecord

__all__ = [
    "CallRecord",
    "CallbackPlan",
    "CallbackRecord",
    "Emulator",
    "Fault",
    "FaultPlan",
    "LoggedRequest",
    "Player",
    "Recorder",
    "ResourcePack",
    "TaskRecord",
    "serve",
]
