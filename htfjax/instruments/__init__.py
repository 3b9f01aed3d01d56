"""Instruments: local components, singular values and ranks, read off factors."""
