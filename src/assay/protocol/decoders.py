"""Where decoders are built: one after the other, and each once.

msgspec reads the fields of a class when the first decoder that needs it is built, and puts what it has read so far
where every thread sees it: a thread that builds another decoder of the class meanwhile follows a null pointer, and the
process is gone. A decoder that is complete may be used by any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Any, Final, TypeVar

import msgspec

KindT = TypeVar("KindT")
DecoderT = TypeVar("DecoderT")

_building: Final = Lock()
_binary: dict[Any, msgspec.msgpack.Decoder[Any]] = {}
_text: dict[Any, msgspec.json.Decoder[Any]] = {}


def get_decoder(kind: type[KindT]) -> msgspec.msgpack.Decoder[KindT]:
    """Return the strict decoder of MessagePack for a type."""
    return _get(_binary, kind, msgspec.msgpack.Decoder)


def get_json_decoder(kind: type[KindT]) -> msgspec.json.Decoder[KindT]:
    """Return the strict decoder of JSON for a type."""
    return _get(_text, kind, msgspec.json.Decoder)


def _get(built: dict[Any, DecoderT], kind: Any, build: Callable[..., DecoderT]) -> DecoderT:
    decoder = built.get(kind)
    if decoder is None:
        with _building:
            decoder = built.get(kind) or build(kind, strict=True)
            built[kind] = decoder
    return decoder
