"""Studies of trained networks: options, training, pool, measures, results."""
