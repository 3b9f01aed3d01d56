"""Factors: one weight matrix per node of a mode tree; starts, stacking and storage."""
