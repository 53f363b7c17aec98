"""What is not known: residuals, the ensembles that they come in, and measurement noise."""

from learned.contracting import ContractingMLP
from learned.ensemble import Ensemble, concatenate, select
from learned.mlp import MLP
from learned.noise import AdditiveProportional, NoiseHead
from learned.residual import Field, LayeredResidual, Layers, Residual
from learned.zero import Zero

# a new member is one file and one word here: the contract tests and the bundle loader run over these tuples
RESIDUALS: tuple[type[Residual], ...] = (MLP, ContractingMLP, Zero)
NOISES: tuple[type[NoiseHead], ...] = (AdditiveProportional,)

__all__ = [
    "MLP",
    "NOISES",
    "RESIDUALS",
    "AdditiveProportional",
    "ContractingMLP",
    "Ensemble",
    "Field",
    "LayeredResidual",
    "Layers",
    "NoiseHead",
    "Residual",
    "Zero",
    "concatenate",
    "select",
]
