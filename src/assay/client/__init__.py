"""What talks to a node and never trusts it: transaction builders, HTTP, proofs against a genesis."""
