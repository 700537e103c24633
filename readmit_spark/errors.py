"""The exception for mistakes that the person who runs a job can correct."""


class UserError(Exception):
    """A mistake in the input, the configuration or the setup.

    The message is one line that says what is wrong, where, and what to do. It never contains note
    text. A job that raises a UserError prints only this message and exits with code 2.
    """
