"""From a report to one HTML file: no script, font, picture or style from elsewhere, and no byte of the run unescaped.

Scripts and styles are allowed by their digest alone, in a policy that the page carries itself. Nothing that comes out
of a run is ever markup: only the two files that ship with the package are.
"""

from __future__ import annotations

import base64
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from assay.report.contents import Report

_TEMPLATES = files("assay.report") / "templates"


def render_page(report: Report) -> str:
    """Return the page. The same report gives the same bytes."""
    style, script = _read("report.css"), _read("report.js")
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
        f"style-src '{_digest(style)}'; script-src '{_digest(script)}'"
    )
    page = _get_environment().get_template("report.html")
    return page.render(
        report=report,
        policy=policy,
        style=Markup(style),  # noqa: S704 - ours, from the package
        script=Markup(script),  # noqa: S704 - ours, from the package
    )


def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(sha256(text.encode()).digest()).decode()


@cache
def _get_environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(_read),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=show,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def show(value: Any) -> Any:
    """Return a value as the page may show it: characters that do not print, or turn the text round, as escapes.

    Args:
        value: anything; what is markup already stays as it is.
    """
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return "".join(_show_character(character) for character in value)


def _show_character(character: str) -> str:
    if character.isprintable() or character == "\n":
        return character
    return character.encode("unicode_escape").decode()
