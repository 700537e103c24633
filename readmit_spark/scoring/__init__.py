"""Finding, checking and loading a model; chunks to probabilities on the executors."""
