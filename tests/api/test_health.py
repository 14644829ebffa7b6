"""/-/healthy, /-/ready and /metrics."""

from pathlib import Path

import httpx
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.testclient import TestClient

from tests.fakes.running_server import RunningServer
from tocsin.api.health import Lifecycle, Phase, health_routes


def test_answers_as_prometheus_does() -> None:
    lifecycle = Lifecycle()
    client = TestClient(Starlette(routes=health_routes(lifecycle, CollectorRegistry())))

    def answer(path: str) -> tuple[int, str, str | None]:
        response = client.get(path)
        return (
            response.status_code,
            response.text,
            response.headers.get("x-prometheus-stopping"),
        )

    assert (200, "Prometheus Server is Healthy.\n", None) == answer("/-/healthy")
    assert (503, "Service Unavailable", "false") == answer("/-/ready")
    lifecycle.phase = Phase.READY
    assert (200, "Prometheus Server is Ready.\n", None) == answer("/-/ready")
    assert (200, "") == (client.head("/-/ready").status_code, client.head("/-/ready").text)
    lifecycle.phase = Phase.STOPPING
    assert (503, "Service Unavailable", "true") == answer("/-/ready")
    assert 405 == client.post("/-/ready").status_code


def test_own_metrics_are_there_from_the_start(tmp_path: Path) -> None:
    with RunningServer(tmp_path) as server:
        metrics = httpx.get(server.url("/metrics", "HTTP")).text
        opened = httpx.get(
            server.url("/metrics", "HTTP"), headers={"accept": "application/openmetrics-text"}
        )
    for line in (
        'tocsin_otlp_requests_total{code="200",protocol="http",signal="traces"} 0.0',
        'tocsin_otlp_requests_total{code="OK",protocol="grpc",signal="traces"} 0.0',
        'tocsin_otlp_dropped_total{signal="metrics"} 0.0',
        'tocsin_journal_records_total{outcome="damaged"} 0.0',
        "tocsin_journal_bytes 0.0",
        "tocsin_journal_lag_seconds 0.0",
        "tocsin_dead_bodies_total 0.0",
    ):
        assert line in metrics
    assert opened.headers["content-type"].startswith("application/openmetrics-text")
