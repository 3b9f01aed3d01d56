"""Tests of networks and their convolutions."""
