"""The one exception that means: the person running the job can mend this."""


class UserError(Exception):
    """A mistake in the input, the configuration or the set-up.

    Its message is one line (what is wrong, where, what to do), holds no note text, and is all that
    a job prints before it exits with code 2.
    """
