"""Data that travel with the package."""

from importlib.resources import files
from pathlib import Path

# published units; the table's own columns carry none
THEOPHYLLINE_UNITS = {"TIME": "h", "AMT": "mg", "DV": "mg/L", "WT": "kg"}
# what the licence of these tables asks to be said wherever they are shown; all of it is in ohashi/ATTRIBUTION.md
OHASHI_CREDIT = (
    "K. Ohashi, M. Fujii, S. Uda, H. Kubota, H. Komada, K. Sakaguchi, W. Ogawa and S. Kuroda, Increase in hepatic and decrease "
    "in peripheral insulin clearance characterize abnormal temporal patterns of serum insulin in diabetic subjects, npj Systems "
    "Biology and Applications 4 (2018) 14, https://doi.org/10.1038/s41540-018-0051-6; CC BY 4.0, "
    "https://creativecommons.org/licenses/by/4.0/; columns that are not read and four people without a complete test left out, "
    "no number changed but for units"
)


def theophylline() -> Path:
    """The table of twelve people given one oral dose of theophylline (Boeckmann, Sheiner & Beal 1994)."""
    return Path(str(files(__name__) / "theophylline.csv"))


def ohashi() -> Path:
    """The folder, for `read_ohashi`, of 117 people's glucose and C-peptide after a drink (Ohashi et al. 2018, CC BY 4.0)."""
    return Path(str(files(__name__) / "ohashi"))
