"""OTLP trace requests as protobuf or JSON -> batches of raw spans, attributes still undecoded.

The protobuf side uses a reduced descriptor made here, without protoc. `attributes` is declared as
`map<string, bytes>`, which has the same wire form as OTLP's `repeated KeyValue`: protobuf's C core
then builds a hash table of undecoded values, and only those asked for are decoded. Spans and their
events are declared as bytes and parsed one by one: a broken span costs no other, and a body of
millions of empty ones costs a tenth of the memory. The descriptor says proto2, because proto3
refuses a whole message over one string that is no UTF-8.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, TypeVar

import msgspec
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError as ProtobufError

from tocsin.errors import DecodeError
from tocsin.sources.any_value import Value, decode_any_value

__all__ = ["Batch", "RawEvent", "RawSpan", "Wire", "bounded", "parse_protobuf", "text"]

MAX_ENTRIES: Final = 100_000
"""Of a list in a body; a span with less than 100 bytes holds nothing of use."""
MAX_ORIGIN: Final = 256
"""Characters of a name of who sends."""
Entry = TypeVar("Entry")

ENVIRONMENT: Final = "deployment.environment.name"
OLD_ENVIRONMENT: Final = "deployment.environment"


class RawStatus(Protocol):
    """A span's status; code 2 is an error."""

    code: int
    message: str | bytes


class RawEvent(Protocol):
    """Something that happened during a span."""

    name: str | bytes
    time_unix_nano: int
    attributes: Mapping[str, Any]


class RawSpan(Protocol):
    """A span as it came, in the names of its protobuf fields.

    Texts are bytes where they are no UTF-8; attributes and events are read by the batch's wire.
    """

    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes
    name: str | bytes
    start_time_unix_nano: int
    end_time_unix_nano: int
    attributes: Mapping[str, Any]
    events: Sequence[Any]
    status: RawStatus


class Wire(msgspec.Struct, frozen=True, eq=False):
    """How to read what a span leaves undecoded, in one format; None for what cannot be read."""

    value: Callable[[Any], Value]
    event: Callable[[Any], RawEvent | None]


class Batch(msgspec.Struct, frozen=True):
    """Spans of one resource and scope, each read when it is asked for; None for a broken one."""

    service: str | None
    environment: str | None
    scope: str
    spans: Iterable[RawSpan | None]
    wire: Wire


def parse_protobuf(body: bytes) -> Iterator[Batch]:
    """Read a serialized ExportTraceServiceRequest.

    Raises DecodeError where the bytes are not one; spans that are none, and what is inside of
    spans, cost no more than themselves.
    """
    try:
        request = Request.FromString(body)
    except ProtobufError as error:
        raise DecodeError("the body is no OTLP trace request in protobuf") from error
    for resource_spans in bounded(request.resource_spans):
        resource = resource_spans.resource.attributes
        service = _resource_text(resource, "service.name")
        environment = _resource_text(resource, ENVIRONMENT)
        if environment is None:
            environment = _resource_text(resource, OLD_ENVIRONMENT)
        for scope_spans in bounded(resource_spans.scope_spans):
            yield Batch(
                service,
                environment,
                text(scope_spans.scope.name)[:MAX_ORIGIN],
                map(_span, bounded(scope_spans.spans)),
                PROTOBUF,
            )


def bounded(entries: Sequence[Entry]) -> Sequence[Entry]:
    """Pass a list of a body on. Raises DecodeError where it is longer than any sender's."""
    if len(entries) > MAX_ENTRIES:
        raise DecodeError(f"the body has a list of more than {MAX_ENTRIES:,} entries")
    return entries


def _span(raw: bytes) -> RawSpan | None:
    try:
        span: RawSpan = Span.FromString(raw)
    except ProtobufError:
        return None
    return span


def _event(raw: bytes) -> RawEvent | None:
    try:
        event: RawEvent = Event.FromString(raw)
    except ProtobufError:
        return None
    return event


def text(value: str | bytes) -> str:
    """Text of a field, whatever can be read of it."""
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _resource_text(attributes: Mapping[str, bytes], key: str) -> str | None:
    raw = attributes.get(key)
    if raw is None:
        return None
    value = decode_any_value(raw)
    return value[:MAX_ORIGIN] if isinstance(value, str) and value else None


PACKAGE: Final = "tocsin.otlp"
FIELD: Final = descriptor_pb2.FieldDescriptorProto
TYPES: Final = {
    "string": FIELD.TYPE_STRING,
    "bytes": FIELD.TYPE_BYTES,
    "fixed64": FIELD.TYPE_FIXED64,
    "int32": FIELD.TYPE_INT32,
}
MESSAGES: Final = {
    "Request": ("resource_spans = 1 repeated ResourceSpans",),
    "ResourceSpans": ("resource = 1 Resource", "scope_spans = 2 repeated ScopeSpans"),
    "Resource": ("attributes = 1 map",),
    "ScopeSpans": ("scope = 1 Scope", "spans = 2 repeated bytes"),
    "Scope": ("name = 1 string",),
    "Span": (
        "trace_id = 1 bytes",
        "span_id = 2 bytes",
        "parent_span_id = 4 bytes",
        "name = 5 string",
        "start_time_unix_nano = 7 fixed64",
        "end_time_unix_nano = 8 fixed64",
        "attributes = 9 map",
        "events = 11 repeated bytes",
        "status = 15 Status",
    ),
    "Event": ("time_unix_nano = 1 fixed64", "name = 2 string", "attributes = 3 map"),
    "Status": ("message = 2 string", "code = 3 int32"),
}
"""What is read of opentelemetry/proto/trace/v1/trace.proto; everything else is skipped."""


def _classes() -> dict[str, type[Any]]:
    file = descriptor_pb2.FileDescriptorProto(
        name="tocsin/otlp.proto", package=PACKAGE, syntax="proto2"
    )
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field in fields:
            _add_field(message, *field.replace(" =", "").split())
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in MESSAGES
    }


def _add_field(message: descriptor_pb2.DescriptorProto, name: str, number: str, *kind: str) -> None:
    field = message.field.add(name=name, number=int(number), label=FIELD.LABEL_OPTIONAL)
    kind_name = kind[-1]
    if kind_name == "map":
        kind_name = f"{message.name}.AttributesEntry"
        entry = message.nested_type.add(name="AttributesEntry")
        entry.options.map_entry = True
        _add_field(entry, "key", "1", "string")
        _add_field(entry, "value", "2", "bytes")
    if kind[0] in ("repeated", "map"):
        field.label = FIELD.LABEL_REPEATED
    if kind_name in TYPES:
        field.type = TYPES[kind_name]
    else:
        field.type = FIELD.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{kind_name}"


CLASSES: Final = _classes()
Request, Span, Event = CLASSES["Request"], CLASSES["Span"], CLASSES["Event"]
PROTOBUF: Final = Wire(decode_any_value, _event)
