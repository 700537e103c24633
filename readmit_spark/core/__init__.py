"""Pure Python and numpy: what is computed, apart from where it runs."""
