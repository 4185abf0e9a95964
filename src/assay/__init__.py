"""Check how a machine-learning model came to be: record, audit and certify a training run."""
