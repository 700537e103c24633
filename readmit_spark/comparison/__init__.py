"""Is one model better than another, and does the text leak the answer?"""
