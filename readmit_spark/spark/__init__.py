"""Thin DataFrame to DataFrame functions; the session is passed in, models run on executors."""
