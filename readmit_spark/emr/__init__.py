"""Run the jobs on Amazon EMR: build requests, check them offline, submit and follow them."""
