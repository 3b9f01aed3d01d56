"""Gradient flow as an adaptive ODE; the only part of the library that uses diffrax."""

from htfjax.flow.integrate import gradient_flow as gradient_flow
from htfjax.flow.records import FlowTrajectory as FlowTrajectory
