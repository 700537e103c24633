"""The run told to people: pictures of the curves and one page that explains itself."""
