"""Mode trees: which modes of a tensor are grouped together. Needs no arrays."""
