"""Tables of jobs: a CSV file whose columns are fields and whose rows are jobs, over an optional template.

A column is called as its field is: `prompt`, `scenes[0].prompt` or `scenes.0.prompt`. An empty cell leaves the field to
the template. Files are read in `jobfile.py`.
"""

from __future__ import annotations

import csv
import io
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.expansion.expand import KEY
from pipelines.expansion.fieldpath import overlaps, place_of, read_text, with_value
from pipelines.refusal import Place, Refusal, field_of, on_one_line, shown

MAX_COLUMNS = 500
DELIMITERS = ",;\t"  # spreadsheets of some countries write semicolons


@dataclass(frozen=True)
class TableRow:
    """One row that is not empty.

    Attributes:
        columns: the field of each column.
        cells: the row's texts.
        row: its number as a spreadsheet counts, the headings being row 1.
    """

    columns: tuple[Place, ...]
    cells: tuple[str, ...]
    row: int

    def over(self, template: Mapping[str, Any], number: int) -> dict[str, Any]:
        """The values of job `number`: those of `template`, and over them the cells that are not empty.

        The name of the template, where no cell has one, gets the number: two jobs of one name are refused.

        Raises:
            Refusal: a cell is not what its field takes, or there are too many or too few of them.
        """
        if len(self.cells) != len(self.columns):
            raise Refusal(
                "", f"expected {len(self.columns)} cells as in the headings, got {len(self.cells)}; check the commas"
            )
        values = dict(template)
        if isinstance(values.get("name"), str):
            values["name"] = f"{values['name']}-{number:03d}"
        expands = KEY in template or (KEY,) in self.columns
        for place, text in zip(self.columns, self.cells, strict=True):
            if text.strip():
                several = expands and ("{" in text or "__" in text)  # such as {1..5}: read when it is expanded
                values = with_value(values, place, text if several else read_text(place, text))
        return values

    def told(self, refusal: Refusal) -> Refusal:
        """`refusal` with the row and, where a column gave the value, the column's letters."""
        named = [field_of(place) for place in self.columns]
        # What is found inside of a cell's value, such as size[0], is the cell's; of a list of parts it is no cell's.
        hits = [i for i, field in enumerate(named) if _within(refusal.field, field)]
        where = f"row {self.row}, column {_letters(hits[0])}" if hits else f"row {self.row}"
        return Refusal(refusal.field, f"{refusal.reason} ({where})")


def read_table(text: str) -> Iterator[TableRow]:
    """The rows of a CSV file's text; the first line holds the headings, commas, semicolons or tabs between them.

    Raises:
        Refusal: the text is not CSV, or the headings are no fields; the reason alone, without a field.
    """
    heading = text.partition("\n")[0]
    delimiter = max(DELIMITERS, key=heading.count)
    # Not splitlines(): it also cuts at U+2028 and form feeds, which may stand in a cell.
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    columns: tuple[Place, ...] | None = None
    row = 0
    try:
        for row, cells in enumerate(lines, 1):
            if columns is None:
                columns = _columns(cells) if cells else None
            elif any(cell.strip() for cell in cells):
                yield TableRow(columns, tuple(cells), row)
    except csv.Error as error:
        raise Refusal("", f"is not CSV: {on_one_line(str(error), 100)} in row {row + 1}") from None


def _columns(headings: list[str]) -> tuple[Place, ...]:
    if len(headings) > MAX_COLUMNS:
        raise Refusal("", f"expected at most {MAX_COLUMNS} columns, got {len(headings)}")
    places: list[Place] = []
    for number, heading in enumerate(headings):
        try:
            place = place_of(heading.strip())
        except Refusal as refusal:
            raise Refusal("", f"{refusal.reason} as the heading of column {_letters(number)}") from None
        for before, other in enumerate(places):
            if overlaps(place, other):
                both = f"{_letters(before)} and {_letters(number)}"
                raise Refusal("", f"the columns {both} both hold {shown(field_of(place))}; keep one")
        places.append(place)
    return tuple(places)


def _within(field: str, column: str) -> bool:
    return field == column or field.startswith((f"{column}[", f"{column}."))


def _letters(column: int) -> str:
    """What a spreadsheet calls column number `column` from 0: A, ..., Z, AA, ..."""
    rest, letter = divmod(column, 26)
    return (_letters(rest - 1) if rest else "") + string.ascii_uppercase[letter]
