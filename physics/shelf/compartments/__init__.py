"""Flows between named compartments: doses arrive, amounts move and leave."""
