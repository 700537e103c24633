"""Fine-tuning, by one process or by many."""
