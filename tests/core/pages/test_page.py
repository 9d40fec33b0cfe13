"""Pages from templates: facts are escaped, none may be missing, nothing acts or is fetched."""

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from components.core.pages.page import render

COMPONENTS = Path(__file__).parents[3] / "components"
TEMPLATES = sorted([*COMPONENTS.glob("**/*.html"), *COMPONENTS.glob("**/*.css")])


def test_facts_are_escaped_and_none_may_be_missing() -> None:
    page = render("core/pages/base.html", title="</title><script>act()</script>")
    assert "<title>&lt;/title&gt;&lt;script&gt;act()&lt;/script&gt;</title>" in page
    assert "default-src 'none'" in page
    with pytest.raises(UndefinedError, match="'title' is undefined"):
        render("core/pages/base.html")


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: str(path.relative_to(COMPONENTS)))
def test_a_template_keeps_escaping_on_and_fetches_nothing(path: Path) -> None:
    text = path.read_text(encoding="ascii")
    for part in ("|safe", "| safe", "autoescape", "Markup", "<script", "://", "url(", "@import"):
        assert part not in text
