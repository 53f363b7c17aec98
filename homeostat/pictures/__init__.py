"""Pictures of forecasts, calibration, contraction and choices. Importing this loads matplotlib."""

from homeostat.pictures import backend  # before anything else loads matplotlib
from homeostat.pictures.bands import Bands
from homeostat.pictures.flow import flow, member_mean_field
from homeostat.pictures.hero import draw_hero
from homeostat.pictures.people import draw_people
from homeostat.pictures.phase import Phase, draw_phase, nearby
from homeostat.pictures.reliability import Reliability, draw_reliability, draw_reliability_of
from homeostat.pictures.what_if import Exceedance, draw_what_if

__all__ = [
    "Bands",
    "Exceedance",
    "Phase",
    "Reliability",
    "backend",
    "draw_hero",
    "draw_people",
    "draw_phase",
    "draw_reliability",
    "draw_reliability_of",
    "draw_what_if",
    "flow",
    "member_mean_field",
    "nearby",
]
