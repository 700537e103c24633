"""Thirty-day readmission risk from early clinical notes, scored in batch on Spark."""
