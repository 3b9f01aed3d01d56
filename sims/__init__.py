"""Simulations: one question, one file, one command each."""

import os

# Figures of commands are files. A notebook exports a backend of its own to its shell,
# which matplotlib may not even know here.
os.environ["MPLBACKEND"] = "Agg"
# XLA reports preferences of its own as features that the processor lacks, in several lines
# for every program that it loads from a cache.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
