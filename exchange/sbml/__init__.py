"""SBML: a model without a network as an exchange format of systems biology states it."""
