"""Parts shared by all HTML pages and pictures."""
