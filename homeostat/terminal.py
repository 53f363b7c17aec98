"""A report's table in the terminal."""

from rich.box import SIMPLE
from rich.markup import escape
from rich.table import Table as RichTable

from homeostat.gallery.table import Table
from homeostat.plain_text import shown


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
        # the name gives way to the numbers: half a band says something else. A unit has a line of its own, as a band has
        title = column if k == 0 else column.replace(" (", "\n(")
        found.add_column(title, justify="left" if k == 0 else "right", overflow="fold", no_wrap=k > 0)
    for row in table.rows:
        words = [f"{c:.3f}" if isinstance(c, float) else "–" if c is None else str(c).replace(" (", "\n(") for c in row[1:]]
        found.add_row(*(escape(shown(word)) for word in (str(row[0]), *words)))
    return found
