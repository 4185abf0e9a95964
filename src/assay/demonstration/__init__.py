"""`assay demo`: two ordinary training scripts, and the story of their runs from recording to a refuted forgery."""
