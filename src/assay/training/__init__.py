"""Recording, replaying and evaluating runs over NumPy views; PyTorch itself is met in `pytorch` alone."""
