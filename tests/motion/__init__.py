"""Tests of descent and flow."""
