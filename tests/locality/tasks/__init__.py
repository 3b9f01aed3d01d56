"""Tests of tasks and their images."""
