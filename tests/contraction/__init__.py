"""Tests of contraction and its plans."""
