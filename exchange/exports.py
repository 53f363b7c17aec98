"""The forms in which a bundle is exported: one word a form."""

from exchange.c.header import CHeader
from exchange.export import Export
from exchange.fmu.fmu import Fmu
from exchange.onnx.onnx_graphs import Onnx
from exchange.sbml.sbml import Sbml
from exchange.torch_program.torch_program import TorchProgram

# the forms in which a bundle is exported, as the shell lists them
EXPORTS: tuple[type[Export], ...] = (CHeader, Fmu, Onnx, TorchProgram, Sbml)
