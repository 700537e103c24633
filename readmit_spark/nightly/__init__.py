"""The patients in the house: what is new, their risk, the list, the monitor."""
