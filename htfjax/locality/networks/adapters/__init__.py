"""Adapters: one for each kind of network, to two pure functions."""
