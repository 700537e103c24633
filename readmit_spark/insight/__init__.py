"""Why a patient has a score, and how it grew day by day."""
