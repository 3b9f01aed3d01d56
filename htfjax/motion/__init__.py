"""Motion: descent, gradient flow, and the trajectories that they record."""
