"""Completion: a tensor, its ranks and an honest error from some of its entries."""
