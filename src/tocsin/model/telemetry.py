"""What OTLP carries, and in which format."""

from enum import IntEnum, StrEnum

__all__ = ["Format", "Signal"]


class Signal(StrEnum):
    """OTLP's kinds of telemetry; traces are what Tocsin reads."""

    TRACES = "traces"
    METRICS = "metrics"
    LOGS = "logs"


class Format(IntEnum):
    """A body's encoding; the numbers are on disk, in the journal."""

    PROTOBUF = 1
    JSON = 2

    @property
    def content_type(self) -> str:
        """Media type of OTLP/HTTP."""
        return "application/json" if self is Format.JSON else "application/x-protobuf"
