"""From chunk probabilities to patient scores, metrics, the report and the model card."""
