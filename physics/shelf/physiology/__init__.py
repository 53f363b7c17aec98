"""Physiology: what the body holds steady, and how a disease passes through a population."""
