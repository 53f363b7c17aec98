"""Pictures of forecasts, calibration, contraction and choices: each a function that draws on matplotlib axes and
returns them.

`axes = people_axes(prediction, records)` draws on a figure of its own, `people_axes(prediction, records, axes=mine)`
on yours, and `write_picture(figure_of(axes), folder, "people", …)` writes the SVG and the PNG. Importing this loads
matplotlib.
"""

from homeostat.pictures import backend  # before anything else loads matplotlib
from homeostat.pictures.bands import Bands, band_axes
from homeostat.pictures.diagnostics.curves import curves_axes
from homeostat.pictures.diagnostics.eta import eta_axes
from homeostat.pictures.diagnostics.npde import npde_axes
from homeostat.pictures.diagnostics.predictive_check import predictive_check_axes, predictive_check_panel_axes
from homeostat.pictures.diagnostics.residuals import residuals_axes
from homeostat.pictures.flow import flow, member_mean_field
from homeostat.pictures.hero import hero_axes
from homeostat.pictures.identify import expected_errors_axes
from homeostat.pictures.observed import Observed, observed_axes, observed_panel_axes
from homeostat.pictures.people import people_axes, person_axes
from homeostat.pictures.phase import Phase, distance_axes, field_axes, nearby, phase_axes
from homeostat.pictures.picture import Picture, save, write_picture
from homeostat.pictures.reliability import Reliability, frequency_axes, quantile_axes, reliability_axes
from homeostat.pictures.sheet import figure_of
from homeostat.pictures.theta import Theta, theta_axes
from homeostat.pictures.uncertainty import (
    Rings,
    coverage_axes,
    horizons_axes,
    ignorance_axes,
    pit_axes,
    rings_axes,
    sharpness_axes,
    split_axes,
)
from homeostat.pictures.what_if import Exceedance, schedule_axes, what_if_axes

__all__ = [
    "Bands",
    "Exceedance",
    "Observed",
    "Phase",
    "Picture",
    "Reliability",
    "Rings",
    "Theta",
    "backend",
    "band_axes",
    "coverage_axes",
    "curves_axes",
    "distance_axes",
    "eta_axes",
    "expected_errors_axes",
    "field_axes",
    "figure_of",
    "flow",
    "frequency_axes",
    "hero_axes",
    "horizons_axes",
    "ignorance_axes",
    "member_mean_field",
    "nearby",
    "npde_axes",
    "observed_axes",
    "observed_panel_axes",
    "people_axes",
    "person_axes",
    "phase_axes",
    "pit_axes",
    "predictive_check_axes",
    "predictive_check_panel_axes",
    "quantile_axes",
    "reliability_axes",
    "residuals_axes",
    "rings_axes",
    "save",
    "schedule_axes",
    "sharpness_axes",
    "split_axes",
    "theta_axes",
    "what_if_axes",
    "write_picture",
]
