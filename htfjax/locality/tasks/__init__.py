"""Tasks: images, and what is to be told of them."""
