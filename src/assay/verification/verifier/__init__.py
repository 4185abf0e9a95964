"""The verifier at work: what it sees of a ledger, what is due, and the process that does it."""
