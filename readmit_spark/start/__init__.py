"""A first look at the machine and the tables, without Spark: `readmit check`, `readmit init`."""
