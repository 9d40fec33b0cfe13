"""Private names of Ray and DeepSpeed stand in one file per floor, whose canary sees them go."""

import re
from pathlib import Path

from tests.private_names import missing

ROOT = Path(__file__).parents[2]
PRIVATE = re.compile(
    r"ray\._|ray\.core\.|ray\.[\w.]+\._|_get_global_client|deepspeed\.(runtime|ops)"
)
KEPT_IN = {
    "components/serving/service/controller.py",
    "components/training/engines/deepspeed_engine.py",
    "components/training/ray_internals.py",
    "workflows/cluster/ray_internals.py",
}


def test_private_names_stand_in_the_files_that_a_canary_watches() -> None:
    sources = [*ROOT.glob("components/**/*.py"), *ROOT.glob("workflows/**/*.py")]
    found = {str(path.relative_to(ROOT)) for path in sources if PRIVATE.search(path.read_text())}
    assert found == KEPT_IN


def test_what_is_gone_is_named() -> None:
    assert missing({"json:dumps": ["indent"], "json:JSONEncoder.encode": [], "json": []}) == []
    gone = {"json.nothing:x": [], "json:nothing.more": [], "json:dumps": ["colour", "indent"]}
    assert missing(gone) == [
        "json.nothing is gone (No module named 'json.nothing')",
        "json:nothing.more is gone",
        "json:dumps no longer takes colour",
    ]
