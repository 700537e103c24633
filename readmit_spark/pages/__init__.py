"""What all HTML pages and pictures share."""
