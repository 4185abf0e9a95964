"""The audit: intervals of a run recomputed in bounded processes, and what was found."""
