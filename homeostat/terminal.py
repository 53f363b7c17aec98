"""A report's table in the terminal."""

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table as RichTable

from homeostat.plain_text import shown
from homeostat.report import Table


def rich_table(table: Table) -> RichTable:
    """A report's table in the terminal."""
    found = RichTable(
        title=table.title,
        title_justify="left",
        caption=table.note,
        caption_justify="left",
        box=SIMPLE,
        padding=(0, 1, 0, 0),
    )
    for k, column in enumerate(table.columns):
        found.add_column(column, justify="left" if k == 0 else "right")
    for row in table.rows:
        found.add_row(*(f"{cell:.3f}" if isinstance(cell, float) else escape(shown(str(cell))) for cell in row))
    return found
