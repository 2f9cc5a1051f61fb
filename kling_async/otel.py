"""OpenTelemetry: spans and metrics of a session, through the API package alone; what they go to is the program's own.

Stage: door. Before: events. Needs the extra: `pip install 'kling-async[otel]'`.

A job outlives spans: it has one short span for each time it is sent, and one at its end that is linked to the last of
them, as messages have. Prompts are recorded only where that is asked for, and addresses never with their queries.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit
from weakref import ref

import attrs

try:
    from opentelemetry import context, metrics, trace
except ImportError:
    told = "kling_async.otel needs the OpenTelemetry API: pip install 'kling-async[otel]'"
    raise ImportError(told) from None

from ._version import __version__
from .endpoints import find_endpoint
from .events import Event, JobEvent, QueryEvent, RequestEvent
from .models import Status
from .session import KlingSession

# The conventions for generative models are in development: all their names are here.
_OPERATION: Final = "gen_ai.operation.name"
_PROVIDER: Final = "gen_ai.provider.name"
_MODEL: Final = "gen_ai.request.model"

_SECONDS: Final = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0)
_TASKS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500)
# As the HTTP conventions advise.
_HTTP_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)


@attrs.define
class _Trace:
    """What is known of an open job: who caused it, its span while it is sent, and when it became unsure."""

    parent: context.Context
    sends: int = 0
    span: trace.Span | None = None
    last: trace.SpanContext | None = None
    unsure_at: datetime | None = None


class Instrumentation:
    """What `instrument` gives: ends with the session, or with `stop()`, or as a context manager."""

    def __init__(
        self, session: KlingSession, tracer: trace.Tracer, meter: metrics.Meter, *, prompts: bool, query_spans: bool
    ) -> None:
        # Weakly: a meter keeps its callbacks for the rest of the process.
        self._session = ref(session)
        self._tracer = tracer
        self._prompts = prompts
        self._query_spans = query_spans
        self._jobs: dict[str, _Trace] = {}
        self._is_over = False
        self._duration = meter.create_histogram(
            "kling.job.duration", "s", "From submission to end.", explicit_bucket_boundaries_advisory=_SECONDS
        )
        self._outcome = meter.create_counter(
            "kling.submit.outcome", "{submission}", "Submissions by what came of them."
        )
        self._settle = meter.create_histogram(
            "kling.submit.settle.duration",
            "s",
            "How long it was not known whether a submission has made a task.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._batch = meter.create_histogram(
            "kling.poll.batch.size", "{task}", "Tasks in one query.", explicit_bucket_boundaries_advisory=_TASKS
        )
        self._lag = meter.create_histogram(
            "kling.poll.lag",
            "s",
            "From the end of a task, by the host's clock, until it was seen.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._units = meter.create_counter("kling.units.spent", "{unit}", "Units of resource packs, as the host says.")
        self._http = meter.create_histogram(
            "http.client.request.duration",
            "s",
            "Duration of HTTP client requests.",
            explicit_bucket_boundaries_advisory=_HTTP_SECONDS,
        )
        for name, unit, about, call in (
            ("kling.jobs.active", "{job}", "Open jobs by status.", self._active),
            ("kling.slots.limit", "{slot}", "Most tasks at once, as far as it was met.", self._limits),
            ("kling.slots.used", "{slot}", "Slots taken by running tasks.", self._used),
        ):
            meter.create_observable_gauge(name, [self._guarded(call)], unit, about)
        hub = session._runtime.hub  # noqa: SLF001 - told at once, within what causes it: that knows the caller's span
        self._leave = hub.tap(self._take, self._end)

    def __repr__(self) -> str:
        return f"<Instrumentation [{len(self._jobs)} jobs | {'over' if self._is_over else 'listening'}]>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Listen no longer; spans that are open end."""
        self._leave()

    def _end(self) -> None:
        self._is_over = True
        for state in self._jobs.values():
            if state.span is not None:
                state.span.end()
        self._jobs.clear()

    # --- events ----------------------------------------------------------------------------------------------------

    def _take(self, event: Event) -> None:
        if isinstance(event, JobEvent):
            self._take_job(event)
        elif isinstance(event, RequestEvent):
            self._take_request(event)
        elif isinstance(event, QueryEvent):
            self._batch.record(event.tasks, {"kling.query.form": event.form})

    def _take_job(self, event: JobEvent) -> None:
        state = self._jobs.get(event.job_id)
        if state is None:
            # Within the caller's `submit`, where his span is the current one; elsewhere there is none.
            state = self._jobs[event.job_id] = _Trace(context.get_current())
        about = _about(event)
        if event.previous is Status.SENDING:
            self._sent(event, state, about)
        if event.previous is Status.UNSURE and state.unsure_at is not None:
            self._settle.record((event.at - state.unsure_at).total_seconds(), about | _word(event.status))
            state.unsure_at = None
        if event.status is Status.SENDING:
            self._begin(event, state, about)
        elif event.status is Status.UNSURE:
            state.unsure_at = event.at
        elif event.status.is_final:
            del self._jobs[event.job_id]
            self._finish(event, state, about)

    def _begin(self, event: JobEvent, state: _Trace, about: dict[str, Any]) -> None:
        attributes = about | {"kling.job.id": event.job_id}
        if state.sends:
            attributes["http.request.resend_count"] = state.sends
        session = self._session() if self._prompts else None
        if session is not None:
            job = session._known(event.job_id)  # noqa: SLF001 - events hold no requests
            prompt = getattr(job.request, "prompt", None) if job is not None else None
            attributes |= {} if prompt is None else {"kling.prompt": str(prompt)}
        state.sends += 1
        state.span = self._tracer.start_span(
            _name(about), state.parent, trace.SpanKind.CLIENT, attributes, start_time=_ns(event.at)
        )
        state.last = state.span.get_span_context()

    def _sent(self, event: JobEvent, state: _Trace, about: dict[str, Any]) -> None:
        # What the submission itself may have cost: a task that was made is paid, if it succeeds.
        is_made = event.status in {Status.ACCEPTED, Status.SUCCEEDED}
        paid = "yes" if is_made else "no" if event.status is Status.QUEUED else event.paid
        word = "accepted" if is_made else "not_taken" if event.status is Status.QUEUED else str(event.status)
        self._outcome.add(1, about | {"kling.outcome": word, "paid": paid})
        if state.span is not None:
            state.span.set_attributes(_given({"kling.task.id": event.task_id, "kling.outcome": word, "paid": paid}))
            _blame(state.span, event)
            state.span.end(_ns(event.at))
            state.span = None

    def _finish(self, event: JobEvent, state: _Trace, about: dict[str, Any]) -> None:
        about |= _word(event.status) | _given({"error.type": event.error})
        self._duration.record((event.at - event.created_at).total_seconds(), about)
        if event.lag_s is not None and event.status in {Status.SUCCEEDED, Status.FAILED}:
            self._lag.record(max(0.0, event.lag_s), about)
        units = event.billing.units if event.billing is not None else None
        if units:
            self._units.add(float(units), about)
        facts: dict[str, Any] = {"kling.job.id": event.job_id, "kling.task.id": event.task_id, "paid": event.paid}
        facts |= {"kling.units": None if units is None else float(units)}
        span = self._tracer.start_span(
            f"{_name(about)} ended",
            context.Context(),
            attributes=about | _given(facts),
            links=[trace.Link(state.last)] if state.last is not None else [],
            start_time=_ns(event.at),
        )
        _blame(span, event)
        span.end(_ns(event.at))

    def _take_request(self, event: RequestEvent) -> None:
        address = urlsplit(event.url)
        port = address.port or (443 if address.scheme == "https" else 80)
        error = str(event.http_status) if (event.http_status or 0) >= 400 else event.error
        about = _given(
            {
                "http.request.method": event.method,
                "server.address": address.hostname,
                "server.port": port,
                "http.response.status_code": event.http_status,
                "error.type": error,
            }
        )
        self._http.record(event.duration_s, about)
        state = self._jobs.get(event.job_id or "")
        if event.purpose == "query" and not self._query_spans:
            return
        parent = context.get_current() if event.purpose == "call" else context.Context()
        if state is not None and state.span is not None:
            parent = trace.set_span_in_context(state.span, parent)
        end = _ns(event.at)
        span = self._tracer.start_span(
            event.method,
            parent,
            trace.SpanKind.CLIENT,
            about | {"url.full": event.url},
            start_time=end - int(event.duration_s * 1e9),
        )
        if error is not None:
            span.set_status(trace.Status(trace.StatusCode.ERROR))
        span.end(end)

    # --- what is looked at when somebody collects ------------------------------------------------------------------

    def _guarded(
        self, look: Callable[[KlingSession], Iterator[metrics.Observation]]
    ) -> Callable[[metrics.CallbackOptions], list[metrics.Observation]]:
        def observe(_options: metrics.CallbackOptions) -> list[metrics.Observation]:
            session = None if self._is_over else self._session()
            # It is collected in a thread of its own: what changes under its eyes is seen the next time.
            with contextlib.suppress(RuntimeError):
                return [] if session is None else list(look(session))
            return []

        return observe

    def _active(self, session: KlingSession) -> Iterator[metrics.Observation]:
        for status in Status:
            if not status.is_final:
                yield metrics.Observation(session.stats.jobs.get(status, 0), _word(status))

    def _limits(self, session: KlingSession) -> Iterator[metrics.Observation]:
        for (pack, model), (_, limit) in session.stats.slots.items():
            if limit is not None:
                yield metrics.Observation(limit, {"kling.pack": pack, _MODEL: model})

    def _used(self, session: KlingSession) -> Iterator[metrics.Observation]:
        for (pack, model), (running, _) in session.stats.slots.items():
            yield metrics.Observation(running, {"kling.pack": pack, _MODEL: model})


def instrument(
    session: KlingSession,
    *,
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
    prompts: bool = False,
    query_spans: bool = False,
) -> Instrumentation:
    """Tell OpenTelemetry what a session does, from now until it closes.

    Args:
        session: open, or not opened yet.
        tracer_provider: where spans go; the program's own if left out.
        meter_provider: where metrics go; the program's own if left out.
        prompts: record prompts as `kling.prompt`; they may say more than a trace should.
        query_spans: make a span for each status query as well; they are many.
    """
    scope = "kling_async"
    return Instrumentation(
        session,
        trace.get_tracer(scope, __version__, tracer_provider),
        metrics.get_meter(scope, __version__, meter_provider),
        prompts=prompts,
        query_spans=query_spans,
    )


def _about(event: JobEvent) -> dict[str, Any]:
    kind = find_endpoint(event.endpoint).yields
    model = {_MODEL: event.model} if event.model else {}
    return {_OPERATION: f"generate_{kind}", _PROVIDER: "kling", "kling.endpoint": event.endpoint, **model}


def _name(about: Mapping[str, Any]) -> str:
    return f"{about[_OPERATION]} {about[_MODEL]}" if _MODEL in about else str(about[_OPERATION])


def _word(status: Status) -> dict[str, Any]:
    return {"kling.status": str(status)}


def _given(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}


def _blame(span: trace.Span, event: JobEvent) -> None:
    if event.error is not None:
        span.set_attribute("error.type", event.error)
        span.set_status(trace.Status(trace.StatusCode.ERROR, event.message))


def _ns(moment: datetime) -> int:
    return int(moment.timestamp() * 1e9)
