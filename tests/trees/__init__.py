"""Tests of mode trees."""
