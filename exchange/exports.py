"""The forms in which a bundle is exported: one word a form."""

from exchange.c.header import CHeader
from exchange.export import Export
from exchange.fmu.fmu import Fmu
from exchange.sbml.sbml import Sbml

EXPORTS: tuple[type[Export], ...] = (CHeader, Fmu, Sbml)
