"""What everyone must agree on: pure rules, without clock, I/O, environment or float arithmetic."""
