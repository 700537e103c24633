"""Files, S3, locks and publishing; the tables that come in and go out."""
