"""Everything that needs torch: scoring, fine-tuning. No pyspark here."""
