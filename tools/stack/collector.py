"""Collector of traces for tests: receives what OpenTelemetry's exporter sends over HTTP."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from stack.ports import HOST


@dataclass(frozen=True, slots=True)
class Collected:
    """Span as received. Ids are hex digits, and `parent` is empty for the root of a trace."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent: str
    links: tuple[str, ...]
    attributes: dict[str, Any]
    is_error: bool


class Collector:
    """OTLP server on a free local port. `spans` holds what arrived, for each process in the order of their ends."""

    def __init__(self) -> None:
        self.spans: list[Collected] = []
        self.url = ""
        self._may_answer = asyncio.Event()
        self._may_answer.set()

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/v1/traces", self._receive)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, 0).start()
        self.url = f"http://{HOST}:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._may_answer.set()
        await self._runner.cleanup()

    def hang(self) -> None:
        """Stop answering requests."""
        self._may_answer.clear()

    def named(self, name: str) -> list[Collected]:
        """Return the spans called `name`."""
        return [span for span in self.spans if span.name == name]

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        await self._may_answer.wait()
        self.spans += _decode(ExportTraceServiceRequest.FromString(body))
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")


def _decode(request: ExportTraceServiceRequest) -> list[Collected]:
    return [
        _span(str(_values(of_service.resource.attributes)["service.name"]), span)
        for of_service in request.resource_spans
        for of_scope in of_service.scope_spans
        for span in of_scope.spans
    ]


def _span(service: str, span: Span) -> Collected:
    return Collected(
        service=service,
        name=span.name,
        kind=Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        links=tuple(link.span_id.hex() for link in span.links),
        attributes=_values(span.attributes),
        is_error=span.status.code == Status.STATUS_CODE_ERROR,
    )


def _values(attributes: Any) -> dict[str, Any]:
    pairs: list[KeyValue] = list(attributes)
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value") or "string_value") for pair in pairs}
