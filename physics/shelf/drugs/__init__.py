"""Drugs: where they go, how they leave, and what they do."""
