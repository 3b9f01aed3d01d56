"""Tests of states and results on disk."""
