"""The Excel sheet that OpenCompass takes for MMBench and MMBench-CN.

In: a table of questions and raw outputs. Out: one row per table row, in its order, with the columns
that scripts/convert_mmbench_for_submission.py of LLaVA at c121f04 leaves (hint, category, source,
image, comment and l2-category dropped, `prediction` put in as the seventh). Raw outputs are written
as they are; the server finds the letters. A missing answer is an empty cell, as there.
"""

from collections.abc import Iterable
from pathlib import Path

from components.evaluation.benchmark import Question
from components.evaluation.scoring.circular import CircularChoice, missing_cell, table_rows
from components.evaluation.submissions import Answer, Written, joined

DROPPED = frozenset(("hint", "category", "source", "image", "comment", "l2-category"))
PREDICTION_PLACE = 6


class ChoiceSheet:
    """The upload of one split's table; `answered` tells whether that split's answers are public."""

    server = "https://mmbench.opencompass.org.cn"

    def __init__(
        self, name: str, choices: CircularChoice, table: str, answered: bool = True
    ) -> None:
        self.name = name
        self.benchmark = choices.name
        self.file_name = f"{Path(table).stem}.xlsx"
        self._choices = choices
        self._table = table
        self._answered = answered

    def read(self, root: Path) -> list[Question]:
        return self._choices.read_table(root / self._table, answered=self._answered)

    def write(self, root: Path, answers: Iterable[Answer], path: Path) -> Written:
        rows = list(table_rows(root / self._table))
        found = joined(self.name, [row["index"] for row in rows], answers, complete=False)
        # Cells beyond the last column have no name.
        columns = [column for column in rows[0] if column and column not in DROPPED]
        columns.insert(PREDICTION_PLACE, "prediction")
        lines = [
            [_cell(column, row, found.raws.get(row["index"])) for column in columns] for row in rows
        ]
        _write_sheet(path, columns, lines)
        return found.written(path, len(rows))


def _cell(column: str, row: dict[str, str], raw: str | None) -> int | str | None:
    if column == "index":
        return int(row["index"])
    if column == "prediction":
        return raw
    return None if missing_cell(row[column]) else row[column]


def _write_sheet(path: Path, columns: list[str], lines: list[list[int | str | None]]) -> None:
    import openpyxl  # only an upload needs it
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "Sheet1"  # as pandas names it
    sheet.append(columns)
    for number, line in enumerate(lines, start=2):
        for place, value in enumerate(line, start=1):
            cell = sheet.cell(number, place)
            if isinstance(value, str):
                # Control characters cannot stand in a sheet; a model's "=..." is no formula.
                cell.value = ILLEGAL_CHARACTERS_RE.sub("", value)
                cell.data_type = "s"
            else:
                cell.value = value
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)
