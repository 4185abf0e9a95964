"""A real browser for the tests: Debian's Chromium, driven from Python, without network and without a window."""

import shutil
from contextlib import contextmanager

from playwright.sync_api import sync_playwright


@contextmanager
def open_browser():
    """Yield a headless Chromium; the command is on the path of every machine that `make test` prepared."""
    command = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert command, "these tests need the command chromium: `make test` installs it on Debian"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=command, headless=True, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visit(browser, file, **settings):
    """Yield (page, seen) of a file; `seen` takes every complaint, dialog, and request for anything but the file."""
    context = browser.new_context(**settings)
    page, seen = context.new_page(), []
    page.on("console", lambda message: seen.append(f"console {message.type}: {message.text}"))
    page.on("pageerror", lambda error: seen.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (seen.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: seen.append(f"request: {request.url}") if request.url != address else None)
    address = file.absolute().as_uri()
    page.goto(address)
    try:
        yield page, seen
    finally:
        context.close()
