"""Fine-tune a model, in one process or several."""
