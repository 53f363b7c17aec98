"""The independent checker: numpy and the standard library, nothing from the search and nothing else of ours."""

from stability.proof.budget import Budget, Meter
from stability.proof.checker import check, prove
from stability.proof.command import main
from stability.proof.contraction import NOT_COVERED
from stability.proof.rational import exactly
from stability.proof.reading import Unusable
from stability.proof.verdict import Verdict

__all__ = ["NOT_COVERED", "Budget", "Meter", "Unusable", "Verdict", "check", "exactly", "main", "prove"]
