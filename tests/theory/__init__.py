"""Tests of the theory and its laws."""
