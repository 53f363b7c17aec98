"""The independent checker: numpy and the standard library, nothing from the search and nothing else of ours."""

from stability.proof.contraction import KINDS, NOT_COVERED, Budget, Meter, Unusable, Verdict, check, main, prove
from stability.proof.rational import exactly

__all__ = ["KINDS", "NOT_COVERED", "Budget", "Meter", "Unusable", "Verdict", "check", "exactly", "main", "prove"]
