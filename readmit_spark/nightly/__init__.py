"""Score the patients in the house each night, publish the worklist, and monitor the nights."""
