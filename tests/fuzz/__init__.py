"""A fuzz over every public name: the kinds of their parameters, and the loop."""
