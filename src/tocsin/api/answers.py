"""OTLP's answers: export responses, and errors as google.rpc.Status, in protobuf and JSON."""

from typing import Final

import msgspec
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from tocsin.api.refusal import RefusedError
from tocsin.model.telemetry import Format, Signal

__all__ = ["dropped_note", "export_response", "retry_info", "status_body"]

WARNING_FIELD: Final = {
    Signal.TRACES: "rejectedSpans",
    Signal.METRICS: "rejectedDataPoints",
    Signal.LOGS: "rejectedLogRecords",
}


def dropped_note(signal: Signal) -> str | None:
    """Say that a signal is accepted and not kept; None for what is kept."""
    if signal is Signal.TRACES:
        return None
    return f"Tocsin keeps traces only: these {signal.value} were accepted and dropped"


def export_response(signal: Signal, format_: Format) -> bytes:
    """Write Export…ServiceResponse: empty, or with the warning that OTLP's partial success allows.

    A warning has a message and rejects nothing, so senders say it and go on.
    """
    note = dropped_note(signal)
    if format_ is Format.JSON:
        warning = {"partialSuccess": {WARNING_FIELD[signal]: "0", "errorMessage": note}}
        return msgspec.json.encode(warning if note else {})
    if note is None:
        return b""
    # Field 1 of each of the three responses is partial_success, whose field 2 is error_message.
    text = note.encode()
    return bytes((0x0A, len(text) + 2, 0x12, len(text))) + text


def retry_info(refused: RefusedError) -> RetryInfo | None:
    """Tell how long to wait; None where repeating is no use."""
    delay_s = refused.reason.value.retry_after_s
    if delay_s is None:
        return None
    info = RetryInfo()
    info.retry_delay.seconds = delay_s
    return info


def status_body(refused: RefusedError, format_: Format) -> bytes:
    """Write a refusal as google.rpc.Status, with RetryInfo where repeating makes sense."""
    code, message = refused.reason.value.grpc, str(refused)
    info = retry_info(refused)
    if format_ is Format.JSON:
        status: dict[str, object] = {"code": code, "message": message}
        if info is not None:
            delay = f"{info.retry_delay.seconds}s"
            kind = f"type.googleapis.com/{info.DESCRIPTOR.full_name}"
            status["details"] = [{"@type": kind, "retryDelay": delay}]
        return msgspec.json.encode(status)
    proto = Status(code=code, message=message)
    if info is not None:
        detail = AnyMessage()
        detail.Pack(info)
        proto.details.append(detail)
    return bytes(proto.SerializeToString())
