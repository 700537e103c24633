"""The jobs' one call each: reads, computes and publishes; Spark and the models meet here."""
