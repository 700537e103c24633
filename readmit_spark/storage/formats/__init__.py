"""Tables of other shapes than MIMIC-III's (`data.format`), which `ingest` turns into its shape."""
