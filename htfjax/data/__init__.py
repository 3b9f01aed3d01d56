"""Data: a user's arrays and tables as cells of a tensor, to train and to test on."""
