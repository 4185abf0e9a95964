"""A second, independent reader of certificates and model files: the standard library, PyNaCl and BLAKE3 alone.

It shares no code with the package. It checks form, signatures and the model file; not the predicate.
"""

import base64
import json
from hashlib import sha256

from blake3 import blake3
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

SIZES = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8, "BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "I32": 4, "I64": 8}


def dump(value):
    """Return canonical JSON; members are sorted by code points, which is RFC 8785's order for the names used here."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def read_certificate(data):
    """Return the statement and, for each key, whether it signed; ValueError if not in the one form."""
    envelope = json.loads(data)
    if dump(envelope) != data or set(envelope) != {"payload", "payloadType", "signatures"}:
        raise ValueError("form")
    payload = base64.b64decode(envelope["payload"], validate=True)
    kind = envelope["payloadType"].encode()
    message = b" ".join([b"DSSEv1", str(len(kind)).encode(), kind, str(len(payload)).encode(), payload])
    signed = {}
    for signature in envelope["signatures"]:
        try:
            VerifyKey(bytes.fromhex(signature["keyid"])).verify(message, base64.b64decode(signature["sig"]))
            signed[signature["keyid"]] = True
        except BadSignatureError:
            signed[signature["keyid"]] = False
    statement = json.loads(payload)
    if dump(statement) != payload:
        raise ValueError("form")
    return statement, signed


def read_model(data):
    """Return name, type, shape and BLAKE3 of each tensor; ValueError if not in the one form."""
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(len(data) - 8, 8 * 2**20):
        raise ValueError("length")
    header, body = data[8 : 8 + length], data[8 + length :]
    try:
        entries = json.loads(header)
        found, again, place = [], {}, 0
        for name in sorted(entries.keys(), key=str.encode):
            dtype, shape = entries[name]["dtype"], entries[name]["shape"]
            size, bounded = SIZES[dtype], SIZES[dtype]
            for extent in shape:
                if type(extent) is not int or not 0 <= extent < 2**40:
                    raise ValueError("extent")
                size, bounded = size * extent, bounded * max(extent, 1)
            if bounded >= 2**40 or len(shape) > 16 or not name or not name.isprintable() or len(name.encode()) > 512:
                raise ValueError("limits")
            again[name] = {"dtype": dtype, "shape": shape, "data_offsets": [place, place + size]}
            found.append((name, dtype.lower(), shape, blake3(body[place : place + size]).hexdigest()))
            place += size
    except (AttributeError, KeyError, TypeError, RecursionError) as error:
        raise ValueError("form") from error
    if json.dumps(again, separators=(",", ":"), ensure_ascii=False).encode() != header or place != len(body):
        raise ValueError("form")
    return found, sha256(data).hexdigest()
