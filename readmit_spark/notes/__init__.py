"""From notes and admissions to chunks of token ids."""
