"""Scripts that write what is generated: reference pages and test vectors."""
