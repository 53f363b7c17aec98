"""Filters: a model in step with one patient."""
