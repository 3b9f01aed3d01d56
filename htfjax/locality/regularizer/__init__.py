"""The regularizer: the change of input gradients with the content of a distant patch."""
