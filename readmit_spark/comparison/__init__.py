"""Compare models, and check that the text does not reveal the outcome."""
