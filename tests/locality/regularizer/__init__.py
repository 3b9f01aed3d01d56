"""Tests of the locality regularizer."""
