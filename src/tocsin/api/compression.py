"""Compressed bodies, without ever holding more than a limit: a bomb is refused half way."""

import sys
import zlib
from typing import Final

from tocsin.api.refusal import Reason, RefusedError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["ACCEPTED", "decompress", "zstd"]

ACCEPTED: Final = "gzip, zstd, deflate"
GZIP_WINDOW: Final = 16 + zlib.MAX_WBITS
ZSTD_WINDOW_LOG: Final = 24
"""16 MB: what a decoder may be made to allocate. Encoders use 8 MB and less unless told to."""


def decompress(body: bytes, encoding: str, limit: int) -> bytes:
    """Undo a Content-Encoding. Raises RefusedError: unknown, broken, or more than `limit` bytes."""
    match encoding.strip().lower():
        case "" | "identity":
            plain = body
        case "gzip" | "x-gzip":
            plain = _inflate(body, GZIP_WINDOW, limit)
        case "deflate":
            plain = _inflate(body, zlib.MAX_WBITS, limit)
        case "zstd":
            plain = _unzstd(body, limit)
        case _:
            raise RefusedError(
                Reason.UNSUPPORTED,
                f"Content-Encoding {encoding[:40]!r} is not known; send {ACCEPTED} or none",
            )
    if len(plain) > limit:
        raise RefusedError(Reason.TOO_LARGE, f"the body has more than {limit} bytes")
    return plain


def _inflate(body: bytes, window: int, limit: int) -> bytes:
    decoder = zlib.decompressobj(window)
    try:
        plain = decoder.decompress(body, limit + 1)
    except zlib.error as error:
        raise _broken(str(error)) from error
    if len(plain) <= limit:
        _check_end(is_whole=decoder.eof, rest=decoder.unused_data)
    return plain


def _unzstd(body: bytes, limit: int) -> bytes:
    options = {int(zstd.DecompressionParameter.window_log_max): ZSTD_WINDOW_LOG}
    decoder = zstd.ZstdDecompressor(options=options)
    try:
        plain = decoder.decompress(body, limit + 1)
    except zstd.ZstdError as error:
        raise _broken(str(error)) from error
    if len(plain) <= limit:
        _check_end(is_whole=decoder.eof, rest=decoder.unused_data)
    return plain


def _check_end(*, is_whole: bool, rest: bytes) -> None:
    if not is_whole:
        raise _broken("it ends too early")
    if rest:
        raise _broken(f"{len(rest)} bytes follow its end")


def _broken(why: str) -> RefusedError:
    return RefusedError(Reason.MALFORMED, f"the compressed body is broken: {why}")
