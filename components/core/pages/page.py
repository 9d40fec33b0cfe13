"""HTML pages from Jinja2 templates: one frame, one palette, no script, nothing fetched.

In: a template, which lies beside the module that gathers its facts, and the facts. Out: the page's
text. All facts are escaped, and the frame (`base.html`) forbids scripts and other files besides.
Templates are named from `components` on, such as `core/pages/base.html`.
"""

import base64
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

MOST_CHARACTERS = 1500
"""Longer texts are cut, so that no single one fills the page."""


@dataclass(frozen=True, slots=True)
class PageImage:
    """An image of a page or, without a `url`, why there is none."""

    url: str = ""
    small: bool = False
    """True where each pixel counts and is shown as a square."""
    reason: str = "text only"
    bad: bool = False
    """True where the reason is a fault."""


def embedded(image: Image.Image, small: bool, kind: str = "PNG", **options: Any) -> PageImage:
    """Return an image that the page holds itself; the options are those of `Image.save`."""
    file = BytesIO()
    image.save(file, kind, **options)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return PageImage(f"data:image/{kind.lower()};base64,{data}", small)


def cut(text: str, most: int = MOST_CHARACTERS) -> str:
    """Return the beginning of a long text and how much is missing."""
    if len(text) <= most:
        return text
    return f"{text[:most]} ... ({len(text) - most:,} characters more)"


def render(template: str, **facts: Any) -> str:
    """Return the template's text with the facts; one that is missing is an error."""
    return _environment().get_template(template).render(facts)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parents[2]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"as": format, "cut": cut}  # {{ 1234|as(",") }} is 1,234
    return environment
