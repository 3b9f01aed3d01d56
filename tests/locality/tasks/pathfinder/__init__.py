"""Tests of Pathfinder."""
