"""Traces by OpenTelemetry, where its package is installed and the settings ask for them.

A span a request, with a route's template and a status; keys, values and bodies are in none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tacit.errors import ServeError
from tacit.serve.messages import Headers


class Tracing:
    """Makes spans, by the provider that stands, else one that exports as OTEL_… variables say.

    Raises ServeError T857 where OpenTelemetry is not installed.
    """

    def __init__(self, provider: Any = None) -> None:
        try:
            from opentelemetry import propagate, trace

            if provider is None and not _stands(trace.get_tracer_provider()):
                provider = _exporting()
                trace.set_tracer_provider(provider)
        except ImportError:
            raise ServeError(
                "traces are asked for, and OpenTelemetry is not installed",
                code="T857",
                where="[serve] traces",
                fix='install it: pip install "tacit[opentelemetry]"',
            ) from None
        self._extract: Any = propagate.extract
        self._trace: Any = trace
        self._tracer = trace.get_tracer("tacit.serve", tracer_provider=provider)

    @contextmanager
    def span(self, method: str, template: str, headers: Headers) -> Iterator[Callable[[int], None]]:
        """A span of one request, in the trace that its headers carry on; what is given is called
        with the answer's status."""
        carried = {
            name.decode("latin-1"): value.decode("latin-1")
            for name, value in headers
            if name in (b"traceparent", b"tracestate")
        }
        with self._tracer.start_as_current_span(
            f"{method} {template}",
            context=self._extract(carried),
            kind=self._trace.SpanKind.SERVER,
            attributes={"http.request.method": method, "http.route": template},
            record_exception=False,  # its message may quote what was sent
            set_status_on_exception=False,
        ) as span:

            def told(status: int) -> None:
                span.set_attribute("http.response.status_code", status)

            try:
                yield told
            except BaseException as error:
                span.set_attribute("error.type", getattr(error, "code", type(error).__name__))
                span.set_status(self._trace.StatusCode.ERROR)
                raise


def _stands(provider: Any) -> bool:
    """Whether somebody has set a provider already."""
    return hasattr(provider, "add_span_processor")


def _exporting() -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider
