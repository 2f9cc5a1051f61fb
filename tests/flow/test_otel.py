"""OpenTelemetry with the SDK's in-memory exporters: the spans and figures of a session, and what they never say."""

import asyncio
import importlib
import sys
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from flow_tools import client, clip, service
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from kling_async import IdentifyFace, KlingError, KlingSession, Operation, Policy, TextToAudio
from kling_async.emulator import Fault
from kling_async.otel import Instrumentation, instrument

SECRET = "a secret plan for the winter"


@attrs.define
class Seen:
    """What was exported."""

    exporter: InMemorySpanExporter
    reader: InMemoryMetricReader
    tracers: TracerProvider
    meters: MeterProvider

    def watch(self, session: KlingSession, **options: Any) -> Instrumentation:
        return instrument(session, tracer_provider=self.tracers, meter_provider=self.meters, **options)

    def spans(self, name: str = "") -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if name in span.name]

    def points(self) -> dict[str, list[Any]]:
        data = self.reader.get_metrics_data()
        return {
            metric.name: list(metric.data.data_points)
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def seen() -> Iterator[Seen]:
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(shutdown_on_exit=False), MeterProvider([reader], shutdown_on_exit=False)
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    yield Seen(exporter, reader, tracers, meters)
    tracers.shutdown()
    meters.shutdown()


def facts(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_the_spans_of_one_job(seen: Seen) -> None:
    """A short one for the submission within the caller's, its HTTP request in it, and one at the end that is linked."""
    async with service(duration_s=60.0) as emulator, client(emulator) as kling:
        with seen.watch(kling):
            with seen.tracers.get_tracer("app").start_as_current_span("checkout") as mine:
                job = await kling.submit(clip(SECRET))
            await job
    (submit,) = [span for span in seen.spans("generate_video kling-v2-6") if "ended" not in span.name]
    (end,) = seen.spans("ended")
    (post,) = seen.spans("POST")
    assert submit.parent is not None
    assert post.parent is not None
    assert submit.parent.span_id == mine.get_span_context().span_id
    assert submit.kind is post.kind is SpanKind.CLIENT
    assert facts(submit) == {
        "gen_ai.operation.name": "generate_video",
        "gen_ai.provider.name": "kling",
        "gen_ai.request.model": "kling-v2-6",
        "kling.endpoint": "text2video",
        "kling.job.id": job.id,
        "kling.task.id": job.task_id,
        "kling.outcome": "accepted",
        "paid": "yes",
    }
    assert post.parent == submit.get_span_context()
    assert facts(post) == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "server.address": "localhost",
        "server.port": 80,
        "url.full": "http://localhost/v1/videos/text2video",
    }
    assert end.parent is None
    assert [link.context for link in end.links] == [submit.get_span_context()]
    assert facts(end) == {
        **{name: value for name, value in facts(submit).items() if name != "kling.outcome"},
        "kling.status": "succeeded",
        "kling.units": emulator.spent,
    }
    assert submit.end_time is not None
    assert submit.start_time is not None
    assert submit.end_time - submit.start_time < 5e9, "no span is as long as the job"
    assert SECRET not in str([span.to_json() for span in seen.spans()])


async def test_prompts_only_where_they_are_asked_for(seen: Seen) -> None:
    async with service(duration_s=5.0) as emulator, client(emulator) as kling:
        seen.watch(kling, prompts=True)
        await kling.generate(clip(SECRET))
    assert [facts(span).get("kling.prompt") for span in seen.spans("generate_video")] == [SECRET, None]


async def test_the_figures_of_a_run(seen: Seen) -> None:
    async with service(duration_s=60.0, slots=2) as emulator, client(emulator) as kling:
        with seen.watch(kling):
            jobs = [await kling.submit(request) for request in (clip("a"), clip("b"), clip("[fail] c"))]
            sound = await kling.submit(TextToAudio(prompt="rain", duration=5.0))
            await jobs[0].accepted()
            during = seen.points()
            for job in [*jobs, sound]:
                try:
                    await job
                except KlingError:
                    assert job is jobs[2]
            points = seen.points()
    assert {"kling.jobs.active", "kling.slots.used"} <= set(during)
    assert sum(point.value for point in during["kling.jobs.active"]) == 4
    active = {point.attributes["kling.status"]: point.value for point in points["kling.jobs.active"]}
    assert active == dict.fromkeys(("queued", "sending", "unsure", "accepted", "processing"), 0)
    assert [point.value for point in points["kling.slots.limit"]] == [2]
    ended = {
        (
            point.attributes["kling.endpoint"],
            point.attributes["kling.status"],
            point.attributes.get("error.type"),
        ): point
        for point in points["kling.job.duration"]
    }
    assert {key: point.count for key, point in ended.items()} == {
        ("text2video", "succeeded", None): 2,
        ("text2video", "failed", "TaskFailed"): 1,
        ("text-to-audio", "succeeded", None): 1,
    }
    assert ended["text2video", "succeeded", None].min >= 60
    outcomes = {
        (point.attributes["kling.outcome"], point.attributes["paid"]): 0 for point in points["kling.submit.outcome"]
    }
    for point in points["kling.submit.outcome"]:
        outcomes[point.attributes["kling.outcome"], point.attributes["paid"]] += point.value
    assert outcomes["accepted", "yes"] == 4
    assert outcomes["not_taken", "no"] >= 1
    lags = points["kling.poll.lag"]
    assert sum(point.count for point in lags) == 4
    assert all(0 <= point.min <= point.max < 60 for point in lags)
    asked = sum(point.sum for point in points["kling.poll.batch.size"])
    assert asked >= 4
    http = points["http.client.request.duration"]
    assert {point.attributes["http.request.method"] for point in http} == {"GET", "POST"}
    assert sum(point.count for point in http) == len(emulator.requests)
    errors = {point.attributes.get("error.type") for point in http}
    assert errors == {None, "429"}


async def test_units_are_what_the_host_says(seen: Seen) -> None:
    async with service(duration_s=5.0) as emulator, client(emulator) as kling:
        with seen.watch(kling):
            request = Operation(operation="text-to-video", model="kling-3.0", prompt="a boat")
            result = await kling.generate(request)
            assert result.billing is not None
            (point,) = seen.points()["kling.units.spent"]
            assert point.value == float(result.billing.units or 0) == emulator.spent
    assert facts(seen.spans("ended")[0])["kling.units"] == emulator.spent


async def test_a_lost_answer_and_a_second_sending(seen: Seen) -> None:
    """How long it was unsure is a figure of its own, and what is sent again says so."""
    fault = Fault(action="reset", stage="before", kind="create", nth=2)
    async with service(faults=[fault], duration_s=5.0) as emulator:
        async with client(emulator, policy=Policy(settle_s=10.0)) as kling:
            with seen.watch(kling):
                await kling.generate(clip("one"))
                await kling.generate(clip("two"))
                points = seen.points()
    (settled,) = points["kling.submit.settle.duration"]
    assert (settled.count, settled.attributes["kling.status"]) == (1, "queued")
    assert settled.min >= 10
    submits = [span for span in seen.spans("generate_video") if "ended" not in span.name]
    assert [facts(span)["kling.outcome"] for span in submits] == ["accepted", "unsure", "accepted"]
    assert [facts(span)["paid"] for span in submits] == ["yes", "maybe", "yes"]
    assert [facts(span).get("http.request.resend_count") for span in submits] == [None, None, 1]
    lost = [span for span in seen.spans("POST") if facts(span).get("error.type")]
    assert [facts(span)["error.type"] for span in lost] == ["ConnectionLost"]
    assert [span.status.status_code for span in lost] == [StatusCode.ERROR]


async def test_failures_are_told(seen: Seen) -> None:
    async with service(duration_s=5.0) as emulator, client(emulator) as kling:
        seen.watch(kling)
        with pytest.raises(KlingError):
            await kling.generate(clip("[refuse]"))
    submit, end = seen.spans("generate_video")
    for span in (submit, end):
        assert facts(span)["error.type"] == "PolicyRejected"
        assert facts(span)["paid"] == "no"
        assert span.status.status_code is StatusCode.ERROR


async def test_calls_and_queries(seen: Seen) -> None:
    """A call's request is a span in the caller's; queries have spans on request only."""
    async with service(duration_s=5.0, takes_foreign_ids=True) as emulator, client(emulator) as kling:
        with seen.watch(kling, query_spans=True):
            await kling.generate(clip())
            with seen.tracers.get_tracer("app").start_as_current_span("faces") as mine:
                await kling.call(IdentifyFace(video_url="https://x.example/v.mp4?faces=1&token=hush"))
    (call,) = [span for span in seen.spans("POST") if "identify-face" in facts(span)["url.full"]]
    assert call.parent is not None
    assert call.parent.span_id == mine.get_span_context().span_id
    queries = seen.spans("GET")
    assert queries
    assert all("?" not in facts(span)["url.full"] for span in seen.spans("GET") + seen.spans("POST"))
    assert "hush" not in str([span.to_json() for span in seen.spans()])


async def test_it_ends_with_the_session(seen: Seen) -> None:
    """Also its gauges, which a meter keeps for the rest of the process."""
    async with service(hang_s=600.0, faults=[Fault(action="hang", kind="create")]) as emulator:
        async with client(emulator, policy=Policy(grace_s=1.0)) as kling:
            watch = seen.watch(kling)
            await kling.submit(clip())
            assert repr(watch) == "<Instrumentation [1 jobs | listening]>"
            while not emulator.requests:
                await asyncio.sleep(0.1)
    assert repr(watch) == "<Instrumentation [0 jobs | over]>"
    assert [span.name for span in seen.spans("generate_video")] == ["generate_video kling-v2-6"]
    assert "kling.jobs.active" not in seen.points()
    watch.stop()


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "kling_async.otel")
    with pytest.raises(ImportError, match=r"pip install 'kling-async\[otel\]'"):
        importlib.import_module("kling_async.otel")
