"""The reduced OTLP descriptor: the fields Tocsin reads, attributes as a map of undecoded values."""

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["TraceRequest"]

Field = descriptor_pb2.FieldDescriptorProto

PACKAGE: Final = "tocsin.otlp"
STRING: Final = Field.TYPE_STRING
BYTES: Final = Field.TYPE_BYTES
FIXED64: Final = Field.TYPE_FIXED64
ENUM: Final = Field.TYPE_INT32  # an enum is an int32 on the wire; unknown values must not matter

MESSAGES: Final[dict[str, list[tuple[str, int, int | str]]]] = {
    "Request": [("resource_spans", 1, "ResourceSpans*")],
    "ResourceSpans": [("resource", 1, "Resource"), ("scope_spans", 2, "ScopeSpans*")],
    "Resource": [("attributes", 1, "map")],
    "ScopeSpans": [("scope", 1, "Scope"), ("spans", 2, "Span*")],
    "Scope": [("name", 1, STRING)],
    "Span": [
        ("trace_id", 1, BYTES),
        ("span_id", 2, BYTES),
        ("parent_span_id", 4, BYTES),
        ("name", 5, STRING),
        ("start_time_unix_nano", 7, FIXED64),
        ("end_time_unix_nano", 8, FIXED64),
        ("attributes", 9, "map"),
        ("events", 11, "Event*"),
        ("status", 15, "Status"),
    ],
    "Event": [("time_unix_nano", 1, FIXED64), ("name", 2, STRING), ("attributes", 3, "map")],
    "Status": [("message", 2, STRING), ("code", 3, ENUM)],
}
"""Message -> (field, number, type): a scalar, another message (* repeated), or the map."""


def _describe(message: Any, name: str) -> None:
    message.name = name
    for field_name, number, kind in MESSAGES[name]:
        field = message.field.add(name=field_name, number=number)
        field.label = Field.LABEL_OPTIONAL
        if isinstance(kind, int):
            field.type = kind
            continue
        field.type = Field.TYPE_MESSAGE
        if kind == "map":
            field.label = Field.LABEL_REPEATED
            field.type_name = f".{PACKAGE}.{name}.AttributesEntry"
            entry = message.nested_type.add(name="AttributesEntry")
            entry.options.map_entry = True
            entry.field.add(name="key", number=1, label=Field.LABEL_OPTIONAL, type=STRING)
            entry.field.add(name="value", number=2, label=Field.LABEL_OPTIONAL, type=BYTES)
        else:
            if kind.endswith("*"):
                field.label = Field.LABEL_REPEATED
            field.type_name = f".{PACKAGE}.{kind.rstrip('*')}"


def _build() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="tocsin/otlp.proto", package=PACKAGE, syntax="proto3"
    )
    for name in MESSAGES:
        _describe(file.message_type.add(), name)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.Request"))


TraceRequest: Final = _build()
"""ExportTraceServiceRequest, reduced."""
