"""Simulations: one question, one file, one command each."""

import os

# Figures of commands are files. A notebook exports a backend of its own to its shell,
# which matplotlib may not even know here.
os.environ["MPLBACKEND"] = "Agg"
