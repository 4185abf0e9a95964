"""What stands between a training script and a run that repeats, resumes and replays: found by reading it. No torch."""
