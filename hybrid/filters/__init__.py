"""Filters: a belief of a person, carried by the model and corrected by what is measured."""

__all__: list[str] = []
