"""What is not known: residuals, the ensembles that they come in, measurement and process noise."""

from learned.additive_proportional import AdditiveProportional, Combined2
from learned.combined1 import Combined1
from learned.constant import Constant
from learned.contracting import ContractingMLP
from learned.correlated import Correlated
from learned.diagonal_diffusion import DiagonalDiffusion
from learned.ensemble import Ensemble, concatenate, select
from learned.joints import Joins, Joint
from learned.laws.noise import check_noise, check_process_noise
from learned.laws.residual import check_residual
from learned.mlp import MLP
from learned.neural_noise import NeuralNoise
from learned.noise import NoiseHead
from learned.process_noise import ProcessNoise
from learned.residual import Field, LayeredResidual, Layers, Residual
from learned.sum_of_residuals import SumOfResiduals
from learned.zero import Zero

# a new member is one file and one word here: the contract tests and the bundle loader run over these tuples
RESIDUALS: tuple[type[Residual], ...] = (MLP, ContractingMLP, SumOfResiduals, Zero)
NOISES: tuple[type[NoiseHead], ...] = (AdditiveProportional, Combined1, Constant, Correlated, NeuralNoise)
PROCESS_NOISES: tuple[type[ProcessNoise], ...] = (DiagonalDiffusion,)

__all__ = [
    "MLP",
    "NOISES",
    "PROCESS_NOISES",
    "RESIDUALS",
    "AdditiveProportional",
    "Combined1",
    "Combined2",
    "Constant",
    "ContractingMLP",
    "Correlated",
    "DiagonalDiffusion",
    "Ensemble",
    "Field",
    "Joins",
    "Joint",
    "LayeredResidual",
    "Layers",
    "NeuralNoise",
    "NoiseHead",
    "ProcessNoise",
    "Residual",
    "SumOfResiduals",
    "Zero",
    "check_noise",
    "check_process_noise",
    "check_residual",
    "concatenate",
    "select",
]
