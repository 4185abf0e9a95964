"""The same meaning in other bytes: white space, duplicate keys, other escapes, extra members, another base64."""

import base64
import json

import pytest

from assay.certificate.dsse import open_envelope
from tests.attacks.certificates import get_code, run_verify
from tests.certificate.cases import AUDITOR, TRUSTING, make_certificate, make_model_file, resign

HONEST = make_certificate()
PAYLOAD = open_envelope(HONEST)[0]


def add_comment(data):
    """Return the object with a member more."""
    values = json.loads(data)
    values["comment"] = "nobody signed this"
    return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()


REWRITES = {
    "leading space": lambda data: b" " + data,
    "line end": lambda data: data + b"\n",
    "inner space": lambda data: data.replace(b'":', b'": ', 1),
    "indented": lambda data: json.dumps(json.loads(data), indent=1).encode(),
    "another order": lambda data: json.dumps(dict(reversed(json.loads(data).items())), separators=(",", ":")).encode(),
    "first member twice": lambda data: data[:1] + data[1 : data.index(b",") + 1] + data[1:],
    "escaped letter": lambda data: data.replace(b'"payload', b'"\\u0070ayload', 1).replace(
        b'"_type', b'"\\u005ftype', 1
    ),
    "extra member": add_comment,
    "byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "UTF-16": lambda data: data.decode().encode("utf-16"),
    "second document": lambda data: data + data,
    "trailing zero byte": lambda data: data + b"\0",
}


@pytest.mark.parametrize("rewrite", REWRITES.values(), ids=REWRITES)
def test_the_envelope_has_one_form(rewrite, tmp_path):
    """No byte of the envelope can be added or moved: malformed, 3 (CRT-2)."""
    changed = rewrite(HONEST)
    assert changed != HONEST
    assert get_code(HONEST, TRUSTING) == 0
    assert run_verify(tmp_path, changed, make_model_file(), trusted=[AUDITOR]) == 3


@pytest.mark.parametrize("rewrite", REWRITES.values(), ids=REWRITES)
def test_the_statement_has_one_form(rewrite):
    """Nor of the statement, even if the auditor signs it: malformed, 3 (CRT-5)."""
    changed = rewrite(PAYLOAD)
    assert changed != PAYLOAD
    assert get_code(resign(PAYLOAD), TRUSTING) == 0
    assert get_code(resign(changed), TRUSTING) == 3


def test_base64_has_one_form():
    """URL-safe letters, line ends and missing padding in the envelope are malformed (CRT-2)."""
    payload = base64.b64encode(PAYLOAD)
    for other in (base64.encodebytes(PAYLOAD).replace(b"\n", b"\\n"), payload.rstrip(b"="), payload + b"=="):
        changed = HONEST.replace(payload, other)
        if changed != HONEST:
            assert get_code(changed, TRUSTING) == 3
