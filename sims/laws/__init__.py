"""Laws of the theory, each checked against a right-hand side by definition."""
