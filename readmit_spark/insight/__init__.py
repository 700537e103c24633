"""Explain patient scores, and show how they change from day to day."""
