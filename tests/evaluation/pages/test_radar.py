"""The radar chart: its lines, its gaps and its rim."""

import re

from components.core.pages.page import render
from components.evaluation.pages.radar import Axis, Series, radar, rim_above


def test_the_radar_has_gaps_where_nothing_was_published() -> None:
    axes = [Axis(name, 100.0) for name in ("a", "b", "c", "d")]
    chart = radar(axes, [Series("other", (50.0, None, 100.0, 50.0))])
    text = render("evaluation/pages/radar.html", chart=chart)
    path = re.search(r'class="line series0" d="([^"]+)"', text)
    assert path is not None
    # c to d and d to a; nothing from or to b. The centre is (340, 268), the radius 190.
    assert path[1] == "M340.0 458.0L245.0 268.0M245.0 268.0L340.0 173.0"
    assert rim_above([57.5, 62.0]) == 70.0
    assert (rim_above([100.0]), rim_above([0.0]), rim_above([60.0])) == (100.0, 10.0, 60.0)
