"""What a run is and how it is judged: plan, program, model state and transcript as records."""
