"""Train an encoder on unlabelled notes: masked words and next sentences."""
