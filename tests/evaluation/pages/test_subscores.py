"""Sub-scores: which of them make a table, and what is drawn as a bar."""

import re

from components.core.pages.page import render
from components.evaluation.pages.subscores import subscores


def drawn(details: dict[str, float]) -> str:
    return render("evaluation/pages/subscores.html", subs=subscores(details)).strip()


def test_sub_scores_become_rows_and_columns() -> None:
    html = drawn({"random/f1": 90.0, "random/recall": 80.0, "all": 70.0, "undecided_rows": 3.0,
                      "hard/f1": 50.0, "hard/recall": 40.0, "kind/a<b": 12.5})  # fmt: skip
    table, rest = html.split("</table>")
    assert re.findall(r'scope="col">([^<]+)<', table) == ["f1", "recall"]
    assert re.findall(r'scope="row">([^<]+)<', table) == ["random", "hard"]
    assert "a&lt;b" in rest
    assert 'undecided rows</span><span></span><span class="count">3<' in rest  # no bar
    mme = drawn({"count": 150.0, "count/accuracy": 80.0, "count/accuracy_plus": 70.0,
                     "OCR": 50.0, "OCR/accuracy": 50.0, "OCR/accuracy_plus": 0.0,
                     "perception": 200.0, "perception_subtasks": 2.0})  # fmt: skip
    assert re.findall(r"150.0<i [^>]+><i [^>]+width:([\d.]+)%", mme) == ["75.0"]
    assert re.findall(r"width:([\d.]+)%", mme.split("</table>")[1]) == ["50.0"]
    assert drawn({}) == ""
