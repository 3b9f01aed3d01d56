"""Tables of cells: their files, what they observe, and what is predicted."""
