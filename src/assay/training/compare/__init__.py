"""Why two runs differ: found from what the runs keep of each step, without recomputing. No torch."""
