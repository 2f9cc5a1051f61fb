"""The front: what users call.

Stage: front. Before: the user. After: scheduler. One session belongs to one event loop in one thread.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
import uuid
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Collection, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakValueDictionary

import aiohttp
import attrs

from . import snapshots
from .addresses import read_networks
from .auth import Credentials, KeyPair, Secret, find_credentials
from .callbacks import CalledBack, Door, find_webhook_secret
from .dialects import Host, find_host
from .download import Downloader, Saved
from .endpoints import Endpoint, Task, endpoint_of, find_endpoint, to_plain
from .endpoints.rules import ID_PATTERN
from .errors import ConfigError, IdempotencyMismatch, InvalidRequest, JournalError, KlingError
from .events import BUFFER, Events, Hub
from .job import Job
from .journal import Entry, Journal, fingerprint
from .models import Failed, Policy, Result, Stats, Status
from .owners import name_owner
from .questions import EndpointLike, Questions, check_task_id
from .recorder import Record, is_open, status_of_entry
from .runtime import Runtime
from .sinks import Sink
from .snapshots import History, Snapshot
from .transport import Transport
from .webhook import Secrets, hide

if TYPE_CHECKING:
    from .recovery import Found, Recovery
    from .selection import Selection

_log = logging.getLogger(__name__)

ID_PREFIX = "ka-"  # of ids that this package makes up, so that an account's tasks show which are its own
_END = object()
_MOST_OF_HISTORY = 1000
_PER_TURN = 64  # entries of the journal that are followed without a pause


class KlingSession(Questions, CalledBack):
    """Many jobs at once on one host, with one poller for all of them.

    Use as an async context manager. Every argument is optional and by name.

    Args:
        api_key: or `KLING_API_KEY` in the environment.
        access_key: with `secret_key` instead of an API key; or `KLING_ACCESS_KEY` with `KLING_SECRET_KEY`.
        secret_key: see access_key.
        base_url: "cometapi", "global", "china", another preset, a URL, or a Host (see `find_host`); or
            `KLING_BASE_URL`. Unset: cometapi with an API key, global with a key pair.
        journal: path of a durable record, made if it is not there; or a Journal. None: jobs end with the process.
        http: an aiohttp.ClientSession to use for the API instead of one of our own; it is not closed.
        max_running: most tasks running at once; the account's own limit is found without it.
        timeout: seconds a job may take from its submission, as a default for `submit`; None: as long as its queue
            takes, and then `policy.task_limit_s`.
        policy: how patient the session is.
        callback: public https URL of your route for callbacks: the default for `callback_url` of `submit`.
        webhook_secret: the Webhook Secret of the service's console, with which it signs callbacks, or several while it
            is being changed; or `KLING_WEBHOOK_SECRET`, several separated by white space.
        callback_token: a secret of your own, of at least 16 characters, for hosts that do not sign: each job's callback
            URL is then `{callback}/{job id}/{token}`, with a token made of it. Of several the first makes the tokens.
        private_callbacks: take http and private addresses as callback URLs, for a host in your own network.
        strict: make errors of RequestWarning: what is likely wrong for the model or host.
        private_networks: networks or addresses, as "10.20.0.0/16", from which files may be downloaded although they are
            private: for a gateway that keeps them in a store of your own. None: where a host says that a file lies
            must not lead into your network. Still https; a cloud's metadata addresses stay closed.
        seed: of the jitter, for repeatable tests.
        wall: gives the wall clock in Unix seconds, for tokens and records; for tests.

    Raises:
        ConfigError: arguments or credentials are wrong.
    """

    def __init__(
        self,
        *,
        api_key: str | Secret | None = None,
        access_key: str | Secret | None = None,
        secret_key: str | Secret | None = None,
        base_url: str | Host | None = None,
        journal: str | Path | Journal | None = None,
        http: aiohttp.ClientSession | None = None,
        max_running: int | None = None,
        timeout: float | None = None,
        policy: Policy | None = None,
        callback: str | None = None,
        webhook_secret: Secrets | None = None,
        callback_token: Secrets | None = None,
        private_callbacks: bool = False,
        strict: bool = False,
        private_networks: Collection[str] = (),
        seed: int | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        # First of all, so that no error raised below shows a key among the locals of its traceback.
        api_key, access_key, secret_key = _hidden(api_key), _hidden(access_key), _hidden(secret_key)
        webhook_secret = None if webhook_secret is None else hide(webhook_secret)
        callback_token = None if callback_token is None else hide(callback_token)
        given: Any = journal
        if given is not None and not isinstance(given, str | Path) and not hasattr(given, "claim"):
            raise ConfigError(f"journal={given!r} must be a path or a Journal")
        if max_running is not None and (type(max_running) is not int or max_running < 1):
            raise ConfigError(f"max_running={max_running!r} must be an integer of at least 1")
        _check_timeout(timeout)
        credentials = find_credentials(api_key, access_key, secret_key)
        self._host = find_host(base_url or _default_host(credentials))
        self._policy = policy or Policy()
        self._timeout = timeout
        self._callback = callback
        self._door = Door(
            self._host,
            base=callback,
            secret=find_webhook_secret(webhook_secret),
            token=callback_token,
            private=private_callbacks,
        )
        self._strict = strict
        self._wall = wall
        # Every job that anybody still holds and that is not open (the scheduler has those), and without a journal for
        # good those that the caller named: an id is one job for ever. A journal remembers that by itself.
        self._jobs: WeakValueDictionary[str, Job] = WeakValueDictionary()
        self._named: dict[str, Job] = {}
        hub = Hub(wall)
        self._transport = Transport(
            self._host,
            credentials,
            wall=wall,
            http=http,
            max_submissions=self._policy.max_submissions,
            max_queries=self._policy.max_queries,
            hub=hub,
        )
        self._downloader = Downloader(
            self._host,
            refresh=self._refresh,
            at_once=self._policy.max_downloads,
            limit_s=self._policy.download_limit_s,
            networks=read_networks(private_networks),
        )
        self._runtime = Runtime(
            self._transport,
            self._downloader,
            policy=self._policy,
            rng=random.Random(seed),  # noqa: S311 - jitter, not secrets
            max_running=max_running,
            journal=_journal_at(journal, wall) if isinstance(journal, str | Path) else journal,
            wall=wall,
            hub=hub,
            address=self._door.address,
            handles=self._jobs,
        )

    def __repr__(self) -> str:
        # A session whose arguments were refused has no host yet, and may still be shown by a debugger.
        name = self._host.name if hasattr(self, "_host") else "no host"
        return f"<KlingSession [{name} | {getattr(self, '_runtime', 'not entered')!r}]>"

    @property
    def host(self) -> Host:
        """The host it talks to."""
        return self._host

    # --- opening and closing ---------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self._runtime.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
        if self._runtime.crash is not None and error is None:
            raise self._runtime.crash

    async def aclose(self, *, drain: float | None = None) -> None:
        """Close: nothing new is sent, submissions in flight get `policy.grace_s`, and every waiter is released.

        Waiters get SessionClosed; a job that has a task goes on at the service and can be followed again.

        Args:
            drain: seconds for which what was sent already is followed to its end first; what is queued is not sent.

        Raises:
            ConfigError: drain is not a number of seconds.
            ForkError: it was opened by the process that this one was forked from.
        """
        _check_timeout(drain, "drain")
        try:
            if drain is not None:
                await self._runtime.drain(drain)
        finally:
            await self._runtime.close()

    async def drain(self, seconds: float | None = None) -> None:
        """Send nothing more, and return when what was sent has ended; the session stays open for downloads.

        What is queued is not sent: it stays in the journal, if there is one. Close the session afterwards.

        Args:
            seconds: longest time to wait; None: as long as it takes.

        Raises:
            ConfigError: seconds is not a number of seconds.
        """
        _check_timeout(seconds, "seconds")
        await self._runtime.drain(seconds)

    def renew_credentials(
        self,
        *,
        api_key: str | Secret | None = None,
        access_key: str | Secret | None = None,
        secret_key: str | Secret | None = None,
    ) -> None:
        """Go on with other credentials: what waited because the old ones were refused is tried at once.

        Args:
            api_key: as for the session; none of the three: read from the environment again.
            access_key: as for the session.
            secret_key: as for the session.

        Raises:
            ConfigError: no credentials, both kinds, or half a pair.
        """
        api_key, access_key, secret_key = _hidden(api_key), _hidden(access_key), _hidden(secret_key)
        self._transport.credentials = find_credentials(api_key, access_key, secret_key)
        scheduler = self._runtime.last_scheduler
        if scheduler is not None:
            scheduler.credentials_changed()

    # --- jobs ------------------------------------------------------------------------------------------------------

    async def submit(
        self,
        request: Task,
        *,
        job_id: str | None = None,
        timeout: float | None = None,
        callback_url: str | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> Job:
        """Queue a request and give its job at once; it is sent as soon as there is a slot.

        Args:
            request: a request object, as TextToVideo.
            job_id: names the job and is its external id at the service: a second submit with the same id returns the
                first job. 1 to 64 of A-Z a-z 0-9 - _; made up if left out.
            timeout: seconds from now until the job ends with DeadlineExceeded.
            callback_url: where the service reports changes, sent as it is; polling goes on all the same.
            metadata: kept on the job, never sent.

        Raises:
            ConfigError: not a request, or an argument that cannot be right.
            InvalidRequest: the request is wrong for this host; nothing was recorded or sent.
            IdempotencyMismatch: job_id already names another request.
            SessionError: the session is closed, or has crashed.
        """
        return await self._submit(request, job_id, timeout, callback_url, metadata, stacklevel=3)

    async def _submit(
        self,
        request: Any,
        job_id: str | None,
        timeout: float | None,
        callback_url: str | None,
        metadata: Mapping[str, object] | None,
        *,
        stacklevel: int,
    ) -> Job:
        scheduler = self._runtime.scheduler(admitting=True)
        endpoint = endpoint_of(request)
        if endpoint.kind == "call":
            name = type(request).__name__
            raise ConfigError(f"{name} makes no task, and is answered at once: await session.call({name}(...))")
        _check_timeout(timeout)
        if callback_url is not None:
            self._door.check_url(callback_url)
        self._door.check_request(request)
        named = self._name_of(request, job_id)
        own_callback = getattr(request, "callback_url", None) or request.extra.get("callback_url")
        callback_url = callback_url or (None if own_callback else self._callback)
        first = None if named is None else self._known(named)
        if first is not None:
            if first.request is not None and first.request != request:  # None: recovered, and not known
                raise IdempotencyMismatch("job_id", named, "already names another request", job_id=named)
            return first
        self._advise(endpoint, request, stacklevel + 1)
        job = Job(
            named or ID_PREFIX + uuid.uuid4().hex,
            endpoint,
            request,
            created_at=self._now(),
            metadata=metadata,
            keeper=scheduler,
        )
        timeout = timeout if timeout is not None else self._timeout
        record = self._runtime.record
        if record is not None:
            self._jobs[job.id] = job
        elif named is not None:  # a journal knows it for good
            self._named[named] = job
        if record is not None and not await self._record(record, job, callback_url, timeout):
            return job
        try:
            self._runtime.scheduler(admitting=True).admit(job, callback_url=callback_url, timeout_s=timeout)
        except KlingError as error:  # closed while it was recorded
            if record is not None:
                record.withdraw(job)
            self._disown(job, error)
            raise
        return job

    def _known(self, job_id: str) -> Job | None:
        """Give the handle of that id, unless it was left while another process holds the job: that one is done."""
        scheduler = self._runtime.last_scheduler
        job = self._named.get(job_id) or (scheduler and scheduler.open_job(job_id)) or self._jobs.get(job_id)
        return None if job is not None and job.done() and job.outcome is None else job

    def _disown(self, job: Job, error: BaseException) -> None:
        """End a job that was not taken, for whoever asked for the same id meanwhile, and leave its id free."""
        self._jobs.pop(job.id, None)
        self._named.pop(job.id, None)
        job.settle(Failed(Status.REJECTED, _unrecorded(error)))

    async def _record(self, record: Record, job: Job, callback_url: str | None, timeout: float | None) -> bool:
        """Write a new job down; False when it was there already, and goes on from where it stood."""
        scheduler = self._runtime.scheduler()
        try:
            found = await record.add(job, callback_url=callback_url, timeout_s=timeout)
            if found is None:
                return True
            # One that was recovered from the host's lists has none: the request is not known there.
            if found.fingerprint and found.fingerprint != fingerprint(job.endpoint, to_plain(job.request)):
                raise IdempotencyMismatch("job_id", job.id, "already names another request", job_id=job.id)
            self._runtime.scheduler()  # closed meanwhile?
            taken: Entry | None = found
            if is_open(found):
                await scheduler.recall(job.endpoint)
                await record.bury()
                taken = await record.take(job.id)
                self._runtime.scheduler()
        except BaseException as error:
            record.is_broken_off = True
            # Else `adopt` has taken it over meanwhile, and it goes on, or has ended.
            if not job.done() and scheduler.open_job(job.id) is not job:
                self._disown(job, error)
            raise
        if job.done() or scheduler.open_job(job.id) is job:
            return False  # `adopt` has taken it over meanwhile
        if taken is not None:
            scheduler.go_on(job, taken)
        else:
            job.status = status_of_entry(found)
            scheduler.watch_foreign(job, timeout)
        return False

    async def adopt(self) -> list[Job]:
        """Follow again the journal's jobs of this host that have not ended and that no running session holds.

        What was not sent is sent, what may have been sent is looked up, and what has a task is asked about.

        Raises:
            ConfigError: the session has no journal.
            JournalError: it could not be read or written.
            SessionError: the session is closed, or has crashed.
        """
        scheduler = self._runtime.scheduler()
        record = self._runtime.record
        if record is None:
            raise ConfigError("adopt() needs a journal: KlingSession(journal=...)")
        jobs: list[Job] = []
        entries: list[Entry] = []
        try:
            entries = await record.claim()
            for endpoint in {entry.endpoint: None for entry in entries}:
                await scheduler.recall(endpoint)
            entries.reverse()
            while entries:
                jobs += await self._follow(record, entries[-1])
                entries.pop()
                if len(entries) % _PER_TURN == 0:
                    await asyncio.sleep(0)  # ten thousand in one go would hold the loop up
        except BaseException:
            record.is_broken_off = True
            record.leave(entries)  # for the next call
            raise
        return jobs

    async def _follow(self, record: Record, entry: Entry) -> list[Job]:
        row, request = None, None
        try:
            row = find_endpoint(entry.endpoint)
            request = await record.request_of(entry, row)
        except KlingError as error:
            if row is None or (entry.attempt == 0 and entry.task_id is None):
                _log.error("job %s cannot be read from the journal, and stays there: %s", entry.job_id, error)
                record.leave([entry])
                return []
            # Looking for its task needs no request; only to send it again does.
            _log.warning("what job %s asked for cannot be read from the journal: %s", entry.job_id, error)
        scheduler = self._runtime.scheduler()
        known = self._known(entry.job_id)
        if known is not None and known.outcome is not None and known.status is not Status.UNRESOLVED:
            record.settle(known, known.outcome, lambda _error: None)  # what was told could not be written
            return []
        job = known or Job(
            entry.job_id,
            row,
            request,
            created_at=datetime.fromtimestamp(entry.created_at, UTC),
            metadata=entry.metadata,
            keeper=scheduler,
            task_id=entry.task_id,
        )
        if scheduler.open_job(job.id) is None:
            self._jobs[job.id] = job
            job.reopen(job.status)  # a name that was asked for while it could not be known that it goes on
            scheduler.go_on(job, entry)
        return [job]

    async def recover(
        self,
        *,
        since: datetime | None = None,
        prefixes: Collection[str] = (ID_PREFIX,),
        dry_run: bool = False,
        on_found: Callable[[Found], None] | None = None,
    ) -> Recovery:
        """Make a lost journal again from the account's own lists; afterwards `adopt()` goes on with it.

        A job that is not in the journal is added, one that has no task there is given it; nothing else is changed. A
        request is not known any more: a job submitted under a recovered id is taken for the same, whatever it asks.

        Args:
            since: leave out what was made before; all that is listed if left out (of the new standard 30 days).
            prefixes: beginnings of external ids that are ours; `[""]` takes all, also names that you gave to jobs.
            dry_run: write nothing; then a journal is not needed.
            on_found: called for each task of ours, as it was dealt with.

        Raises:
            ConfigError: the session has no journal, or the host no lists.
            AuthError: the host refused the credentials.
            ConnectFailed: it cannot be reached.
            JournalError: the journal could not be read or written.
            SessionError: the session is closed, or has crashed.
        """
        from .recovery import PAGE_SIZE, Rebuild  # noqa: PLC0415 - a rare need, with every endpoint behind it

        self._runtime.scheduler()
        return await Rebuild(
            self._runtime.record,
            self._host,
            ask=self._ask,
            pages=lambda row, ask: self._pages(row, PAGE_SIZE, (), (), _listed_since(row, since), None, ask),
            now=self._wall(),
            rng=random.Random(),  # noqa: S311 - jitter, not secrets
            since=since,
            prefixes=prefixes,
            dry_run=dry_run,
            on_found=on_found,
        ).run()

    def _name_of(self, request: Any, job_id: str | None) -> str | None:
        own = getattr(request, "external_task_id", None)
        if job_id is None:
            return str(own) if own is not None else None
        if not ID_PATTERN.match(job_id):
            raise InvalidRequest("job_id", job_id, "must be 1 to 64 of A-Z a-z 0-9 - _")
        if own is not None and own != job_id:
            raise InvalidRequest("job_id", job_id, f"differs from the request's external_task_id {own!r}")
        return job_id

    async def generate(
        self,
        request: Task,
        *,
        job_id: str | None = None,
        timeout: float | None = None,
        callback_url: str | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> Result:
        """Submit and wait.

        Raises:
            KlingError: as `submit` and `await job`; `error.paid` tells whether money was spent.
        """
        return await (await self._submit(request, job_id, timeout, callback_url, metadata, stacklevel=3))

    async def select(self, *, video_id: str | None = None, video_url: str | None = None) -> Selection:
        """Open a video, so that things in it can be selected and then exchanged, removed or added to.

        Args:
            video_id: a video the service made in the last 30 days; exactly one of the two.
            video_url: mp4 or mov, 2 to 5 s or 7 to 10 s.

        Raises:
            InvalidRequest: neither, or both.
            ServiceError: refused.
            TransportError: no usable answer.
            SessionError: the session is closed, or has crashed.
        """
        from .selection import Selection  # noqa: PLC0415 - its requests are imported when they are asked for

        return await Selection.open(self, video_id=video_id, video_url=video_url)

    async def map(
        self,
        requests: Iterable[Task] | AsyncIterable[Task],
        *,
        max_pending: int = 1000,
        timeout: float | None = None,
        callback_url: str | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> AsyncIterator[Job]:
        """Submit many and yield their jobs, done, in order of completion.

        Never raises for one job's failure: `job.error` tells, also for a request that is wrong for this host. At most
        `max_pending` jobs are open at once, and the next request is only taken when there is room. What the source
        itself raises comes through; jobs that are open then, or when the loop is left early, go on in the session.

        Raises:
            ConfigError: max_pending is below 1, or an item is not a request.
            SessionError: the session is closed, or has crashed.
        """
        if max_pending < 1:
            raise ConfigError(f"max_pending={max_pending!r} must be at least 1")
        finished: deque[Job] = deque()
        news = asyncio.Event()

        def note(job: Job) -> None:
            finished.append(job)
            news.set()

        source, exhausted, open_count = _as_async(requests), False, 0
        taking: asyncio.Future[Any] | None = None
        try:
            while True:
                # Taken in a task of its own: a slow source must not keep finished jobs back.
                if taking is None and not exhausted and open_count < max_pending:
                    taking = asyncio.ensure_future(anext(source, _END))
                    taking.add_done_callback(lambda _taking: news.set())
                if finished:
                    open_count -= 1
                    yield finished.popleft()
                elif taking is not None and taking.done():
                    request, taking = taking.result(), None
                    exhausted = request is _END
                    if not exhausted:
                        open_count += 1
                        (await self._submit_or_reject(request, timeout, callback_url, metadata)).when_done(note)
                elif exhausted and not open_count:
                    return
                else:
                    news.clear()
                    await news.wait()
        finally:
            if taking is not None:
                taking.cancel()
                await asyncio.wait({taking})

    async def _submit_or_reject(
        self, request: Any, timeout: float | None, callback_url: str | None, metadata: Mapping[str, object] | None
    ) -> Job:
        try:
            return await self._submit(request, None, timeout, callback_url, metadata, stacklevel=4)
        except (InvalidRequest, JournalError) as error:
            job = Job(
                ID_PREFIX + uuid.uuid4().hex,
                endpoint_of(request),
                request,
                created_at=self._now(),
                metadata=metadata,
            )
            job.settle(Failed(Status.REJECTED, error.anew()))
            return job

    def attach(
        self,
        task_id: str,
        endpoint: EndpointLike,
        *,
        timeout: float | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> Job:
        """Follow a task that was made elsewhere, or in an earlier run; nothing is sent but questions.

        Args:
            task_id: the host's id of the task.
            endpoint: its endpoint's short name, or its request class.
            timeout: seconds from now until the job ends with DeadlineExceeded.
            metadata: kept on the job.

        Raises:
            ConfigError: no such endpoint, or no possible task id.
            SessionError: the session is closed, or has crashed.
        """
        scheduler = self._runtime.scheduler()
        row = find_endpoint(endpoint)
        _check_timeout(timeout)
        check_task_id(task_id)
        followed = scheduler.find(task_id)
        if followed is not None:
            return followed
        job = Job(
            ID_PREFIX + uuid.uuid4().hex,
            row,
            None,
            created_at=self._now(),
            metadata=metadata,
            keeper=scheduler,
            status=Status.ACCEPTED,
            task_id=task_id,
        )
        scheduler.follow(job, task_id, timeout_s=timeout if timeout is not None else self._timeout)
        return job

    async def look(self, job_id: str) -> Snapshot | None:
        """Tell where a job stands: of this session, or of any process on the same journal, also long after its end.

        Asks the host nothing and follows nothing: a job that another process holds is told as the journal has it now.

        Args:
            job_id: our id of the job.

        Returns:
            Where it stands; None if no job of this host has that id.

        Raises:
            JournalError: it could not be read.
            SessionError: the session is closed, or has crashed.
        """
        self._runtime.scheduler()
        record = self._runtime.record
        if not ID_PATTERN.match(job_id):
            return None
        job = self._sure(job_id)
        if job is not None:
            return snapshots.of_job(job)
        entry = None if record is None else await record.journal.find(job_id)
        if entry is None:
            job = self._known(job_id)  # about to be recorded
            return None if job is None else snapshots.of_job(job)
        return snapshots.of_entry(entry, self._host.retention_s) if entry.host == self._host.name else None

    def _sure(self, job_id: str) -> Job | None:
        """Give the handle of a job whose state is known here first: it is followed here, or has ended for good."""
        job = self._runtime.scheduler().open_job(job_id)
        if job is None:
            job = self._known(job_id)
            has_ended = job is not None and job.outcome is not None and job.status is not Status.UNRESOLVED
            return job if has_ended or self._runtime.record is None else None
        return job

    async def history(self, *, status: Status | None = None, before: int | None = None, limit: int = 100) -> History:
        """Give the journal's jobs of this host, whoever holds them, the last submitted first.

        Args:
            status: only those that stand there; ACCEPTED and PROCESSING are one in a journal, and either gives both.
            before: `next` of the page before this one.
            limit: how many at most, up to 1000; there may be fewer on a page that is not the last.

        Raises:
            ConfigError: the session has no journal, or an argument is out of bounds.
            JournalError: it could not be read.
            SessionError: the session is closed, or has crashed.
        """
        self._runtime.scheduler()
        record = self._runtime.record
        if record is None:
            raise ConfigError("history() needs a journal: KlingSession(journal=...)")
        if type(limit) is not int or not 1 <= limit <= _MOST_OF_HISTORY:
            raise ConfigError(f"limit={limit!r} must be an integer from 1 to {_MOST_OF_HISTORY}")
        if before is not None and (type(before) is not int or not 0 <= before < 1 << 63):
            raise ConfigError(f"before={before!r} must be `next` of an earlier page")
        state = Status.ACCEPTED if status is Status.PROCESSING else status
        found = await record.journal.newest(self._host.name, limit, before=before, state=state)
        jobs: list[Snapshot] = []
        for place, entry in found:
            job = self._sure(entry.job_id) if state is None or not state.is_final else None
            seen = snapshots.of_entry(entry, self._host.retention_s) if job is None else snapshots.of_job(job)
            jobs += [] if seen is None else [attrs.evolve(seen, place=place)]
        return History(tuple(jobs), found[-1][0] if len(found) == limit else None)

    async def download(
        self, result: Result, directory: str | Path, *, name: str | None = None, max_bytes: int | None = None
    ) -> list[Path]:
        """Save every asset of a result.

        Args:
            result: of a job of any session.
            directory: where to; made if it does not exist.
            name: stem of the file names; the task id if left out. Never taken from a URL.
            max_bytes: most bytes per file; 2 GiB if left out.

        Returns:
            The files, in the order of `result.assets`.

        Raises:
            ConfigError: not a Result.
            DownloadError: one could not be saved, and the others were; the generation is not affected.
            SessionError: the session is closed, or has crashed.
        """
        saved = await self.save(result, directory, name=name, max_bytes=max_bytes)
        return [file.path for file in saved if file.path is not None]

    async def save(
        self, result: Result, where: str | Path | Sink, *, name: str | None = None, max_bytes: int | None = None
    ) -> list[Saved]:
        """Save every asset of a result, and tell of each where it is, how long, and its hash.

        At most `policy.max_downloads` files of a session are on their way at once; others wait.

        Args:
            result: of a job of any session.
            where: a folder, made if it does not exist; or a Sink, as ObjectStoreSink.
            name: stem of the file names; the task id if left out. Never taken from a URL.
            max_bytes: most bytes per file; 2 GiB if left out.

        Returns:
            One for each file, in the order of `result.assets`.

        Raises:
            ConfigError: not a Result, or neither a folder nor a sink.
            DownloadError: one could not be saved, and the others were; the generation is not affected.
            SessionError: the session is closed, or has crashed.
        """
        self._runtime.check_open()
        if not isinstance(result, Result):
            raise ConfigError(f"download() takes a Result, not a {type(result).__name__}: give `await job`")
        place = Path(where) if isinstance(where, str) else where
        if not isinstance(place, Path | Sink):
            raise ConfigError(f"where={where!r} must be a folder or a Sink")
        if max_bytes is not None and (type(max_bytes) is not int or max_bytes < 1):
            raise ConfigError(f"max_bytes={max_bytes!r} must be an integer of at least 1")
        return await self._downloader.save(result, place, name=name, max_bytes=max_bytes)

    def events(self, *, buffer: int = BUFFER) -> Events:
        """Give what happens from now on: `async for event in session.events(): ...`; any number may listen.

        JobEvent tells each change of a job's status; QueryEvent, SweepEvent, RequestEvent and PauseEvent what the
        session does for it. It ends when the session closes, or has crashed. A reader that is too slow for its buffer
        loses the oldest, and gets a Missed in their place; it never holds the session up.

        Args:
            buffer: how many events are kept for this reader.

        Raises:
            ConfigError: buffer is below 1, or the session is not open.
            SessionError: the session is closed, or has crashed.
        """
        self._runtime.scheduler()
        return self._runtime.hub.read(buffer)

    @property
    def stats(self) -> Stats:
        """The session at this moment."""
        scheduler = self._runtime.last_scheduler
        if scheduler is None:
            told = self._door.stats
            return Stats(jobs={}, pending=0, submissions=0, queries={}, slots={}, last_sweep_queries=0, callbacks=told)
        bar = scheduler.submitter.bar
        return Stats(
            jobs={status: number for status, number in scheduler.counts.items() if number},
            pending=scheduler.pending,
            submissions=scheduler.submitter.sent,
            queries={str(form): number for form, number in scheduler.poller.counts.items()},
            slots={key: (gate.running, gate.limit) for key, gate in scheduler.submitter.gates.items()},
            last_sweep_queries=scheduler.poller.last_queries,
            paused=None if bar is None else str(bar.error),
            paused_code=None if bar is None else bar.error.code,
            callbacks=self._door.stats,
        )


def _listed_since(row: Endpoint, since: datetime | None) -> datetime | None:
    return None if row.standard == "legacy" else since  # whose lists have no filter


def _journal_at(path: str | Path, wall: Callable[[], float]) -> Journal:
    from .journal_sqlite import SqliteJournal  # noqa: PLC0415 - a session without a journal does not need it

    return SqliteJournal(path, wall=wall, owner=name_owner())


def _unrecorded(error: BaseException) -> KlingError:
    return error if isinstance(error, KlingError) else JournalError("it was not recorded, and not sent", paid="no")


def _hidden(value: str | Secret | None) -> Secret | None:
    return Secret(value) if isinstance(value, str) else value


def _default_host(credentials: Credentials) -> str:
    return os.environ.get("KLING_BASE_URL") or ("global" if isinstance(credentials, KeyPair) else "cometapi")


def _check_timeout(timeout: object, name: str = "timeout") -> None:
    good = isinstance(timeout, int | float) and not isinstance(timeout, bool) and timeout > 0
    if timeout is not None and not good:
        raise ConfigError(f"{name}={timeout!r} must be a number of seconds above 0")


async def _as_async(requests: Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[Any]:
    if isinstance(requests, AsyncIterable):
        async for request in requests:
            yield request
    else:
        for request in requests:
            yield request
