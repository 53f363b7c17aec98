"""libSBML's word on a document: the one file that imports it."""

from exchange.files.names import one_line


def require_consistent(text: str, what: str) -> None:
    """Raise `ValueError`, beginning with `what`, where libSBML finds an error in an SBML text, or is not installed.

    What it warns of (units of formulas that it cannot follow through a constant) is no error.
    """
    try:
        import libsbml
    except ImportError as error:
        raise ValueError(
            f"{what}: libSBML, which checks the document, is not installed; pip install 'homeostat[sbml]'"
        ) from error
    found = libsbml.readSBMLFromString(text)
    found.checkConsistency()
    errors = [found.getError(i) for i in range(found.getNumErrors())]
    wrong = [e for e in errors if e.getSeverity() >= libsbml.LIBSBML_SEV_ERROR]
    if wrong:
        raise ValueError(
            f"{what}: libSBML finds {len(wrong)} errors in the document, the first: {one_line(wrong[0].getMessage(), 300)}; "
            "nothing was written"
        )
