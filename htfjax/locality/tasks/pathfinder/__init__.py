"""Pathfinder: are two dots the ends of one dashed path? Our generator after Linsley et al.

Flow: settings -> stamps -> paths on masks -> ink -> pixels -> examples; the distance of
the dots is measured beside it.
"""
