"""The log: events with two clocks, their canonical order, and where they are kept."""

__all__: list[str] = []
