"""Simulations: one question, one file, one command each."""

import os
import sys

from .common import missing

# Figures of commands are files. A notebook exports a backend of its own to its shell,
# which matplotlib may not even know here.
os.environ["MPLBACKEND"] = "Agg"
# XLA reports preferences of its own as features that the processor lacks, in several lines
# for every program that it loads from a cache.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# `python -m sims.NAME`: this package is imported while the command is looked for.
if sys.argv[:1] == ["-m"]:
    missing.watch()
# Programs with callbacks are not kept from run to run, and equinox raises by one: without,
# what it would refuse becomes NaN. Times and steps of flows are checked before it.
os.environ.setdefault("EQX_ON_ERROR", "nan")
