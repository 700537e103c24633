"""Masked words and next sentences: an encoder for clinical text."""
