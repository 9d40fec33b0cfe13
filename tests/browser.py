"""Pages drawn by a headless Chromium: what a script of ours measures in them, what it complains of.

In: the text of a page. Out: the measured values, and the lines of the browser's console. `.ci/run`
installs the browser.
"""

import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import IN_CI

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NEEDS_CHROMIUM = pytest.mark.skipif(CHROMIUM is None and not IN_CI, reason="needs Chromium")
_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --hide-scrollbars "
    "--enable-logging=stderr"
)


def measuring(body: str) -> str:
    """Return a script that leaves in the outermost page what this function's body returns."""
    return f"""<script>addEventListener("load", () => {{
  const measure = () => {{{body}}};
  const measured = document.createElement("pre");
  measured.id = "measured";
  measured.textContent = JSON.stringify(measure());
  parent.document.body.append(measured);
}});</script>"""


def measured(text: str, script: str, folder: Path, width: int) -> tuple[dict[str, Any], list[str]]:
    """Return what the script finds in a page so many pixels wide, and the console's lines.

    The page's policy is taken out, so that escaping alone must hold.
    """
    policy = re.search(r"<meta http-equiv=[^>]+>", text)
    assert policy is not None
    # In a frame, for a window of Chromium is never narrower than 500 px.
    inner = escape(text.replace(policy[0], script), quote=True)
    shown, console = browse(
        f'<!DOCTYPE html><title>frame</title><body style="margin: 0"><iframe srcdoc="{inner}" '
        f'style="width: {width}px; height: 900px; border: 0"></iframe>',
        folder,
        max(width, 500),
    )
    found = re.search(r'id="measured">(.*?)</pre>', shown, re.DOTALL)
    assert found is not None
    result: dict[str, Any] = json.loads(unescape(found[1]))
    return result, console


def browse(text: str, folder: Path, width: int) -> tuple[str, list[str]]:
    """Return the document as the browser holds it after loading, and the console's lines."""
    path = folder / "page.html"
    path.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [
            *(str(CHROMIUM), *_FLAGS.split(), f"--user-data-dir={folder / 'profile'}"),
            *(f"--window-size={width},900", "--dump-dom", path.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]
