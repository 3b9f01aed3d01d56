"""Losses: random observations, penalties, and comparisons of factors with data."""
