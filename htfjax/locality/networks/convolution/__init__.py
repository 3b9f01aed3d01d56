"""Convolutions as matrix products: windows (im2col) and Winograd's minimal filtering."""
