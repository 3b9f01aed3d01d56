"""Measures of a trained network: accuracy, gradient change by distance, separation rank."""
