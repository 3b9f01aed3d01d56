"""Tests of `htfjax.plot`."""
