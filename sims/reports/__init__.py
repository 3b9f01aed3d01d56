"""Reports: run folders as one HTML page, from reading to writing."""
