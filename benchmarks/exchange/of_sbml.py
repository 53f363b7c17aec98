"""A model without a network as SBML, followed by libRoadRunner."""

from pathlib import Path

import numpy as np

from benchmarks.exchange.of_fmu import Found
from benchmarks.exchange.subject import Subject
from exchange.sbml.sbml import Sbml


def of_sbml(subject: Subject, folder: Path) -> Found:
    """The gap of its path from ours; inputs are held."""
    import libsbml
    import roadrunner

    path = folder / "model.xml"
    Sbml(selection=subject.selection, replace=True).write(subject.bundle, path)
    simulator = roadrunner.RoadRunner(str(path))
    integrator = simulator.getIntegrator()
    integrator.setValue("relative_tolerance", 1e-10)
    integrator.setValue("absolute_tolerance", 1e-12 * float(subject.size.min()))
    integrator.setValue("maximum_num_steps", 200_000)
    read = libsbml.readSBMLFromFile(str(path)).getModel()
    states = [rule.getVariable() for rule in (read.getRule(k) for k in range(read.getNumRules())) if rule.isRate()]
    others = [
        p.getId() for p in (read.getParameter(k) for k in range(read.getNumParameters())) if p.getId() not in states
    ]
    levels, infused = ([one for one in others if one.startswith(kind)] for kind in ("u_", "infused_"))
    for k, value in enumerate(subject.start):
        simulator.setValue(states[k], float(value))
    for k, value in enumerate(subject.levels):
        simulator.setValue(levels[k], float(value))
    for k, value in enumerate(subject.infused):
        simulator.setValue(infused[k], float(value))
    simulator.timeCourseSelections = ["time", *states]
    result = np.asarray(simulator.simulate(0.0, float(subject.times[-1]), len(subject.times)))
    return {"path gap": subject.gap(result[:, 1:])}
