"""The front door: command line, demo, pictures, reports."""

__version__ = "0.1.0"  # the one place: pyproject.toml reads it here
