"""What travels: the model bundle, with certificate and calibration inside."""

from homeostat_siblings import require_siblings

# before the first of them is imported
require_siblings("exchange", ("physics", "learned", "hybrid", "stability", "training"))

from exchange.bundle.bundle import Bundle
from exchange.bundle.cards.card import card
from exchange.bundle.contents import content_hash
from exchange.bundle.coverage import Outside
from exchange.bundle.person import Person
from exchange.bundle.reading import load
from exchange.bundle.solvers import solver_named
from exchange.bundle.structures import BUILTIN, describe, rebuild
from exchange.bundle.systems import lure_of
from exchange.bundle.units import units_of
from exchange.bundle.writing import save
from exchange.c.header import CHeader
from exchange.export import Export, Written
from exchange.exports import EXPORTS
from exchange.files.signature import new_key, sign, signed_by, verify
from exchange.fmu.asked import Rebuilt
from exchange.fmu.checked import Checked, check_fmu
from exchange.fmu.fmu import Fmu
from exchange.onnx.onnx_graphs import Onnx
from exchange.sbml.sbml import Sbml
from exchange.selection import Selected, Selection, selected
from exchange.torch_program.torch_program import TorchProgram

__all__ = [
    "BUILTIN",
    "EXPORTS",
    "Bundle",
    "CHeader",
    "Checked",
    "Export",
    "Fmu",
    "Onnx",
    "Outside",
    "Person",
    "Rebuilt",
    "Sbml",
    "Selected",
    "Selection",
    "TorchProgram",
    "Written",
    "card",
    "check_fmu",
    "content_hash",
    "describe",
    "load",
    "lure_of",
    "new_key",
    "rebuild",
    "save",
    "selected",
    "sign",
    "signed_by",
    "solver_named",
    "units_of",
    "verify",
]
