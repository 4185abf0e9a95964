"""PyTorch: capture of a step, the session, the executor and the data set adapter. Nothing else imports torch."""
