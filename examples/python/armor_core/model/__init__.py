"""A model's folder as a model in memory, also one that a job has compressed."""
