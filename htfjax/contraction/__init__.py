"""Factors to values: the end tensor, entries, rank-one sensing, and the plan for them."""
