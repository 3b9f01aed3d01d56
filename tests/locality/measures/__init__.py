"""Tests of measures of locality."""
