"""Tasks: images with the labels that a network is to learn."""
