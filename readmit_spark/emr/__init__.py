"""Running the jobs on Amazon EMR: what is asked for, checked offline, submitted and followed."""
