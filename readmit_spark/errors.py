"""The exception for mistakes that the person who runs a job can correct."""


class UserError(Exception):
    """A mistake in the input, the configuration or the setup.

    The message is one line that says what is wrong, where, and what to do. It never contains note
    text. A job that raises a UserError prints only this message and exits with code 2.
    """


def reason(error: Exception) -> str:
    """Return the first line of a library's error about a model, without its advice to run code."""
    lines = str(error).strip().splitlines()
    advice = ("trust_remote_code", "weights_only", "custom code")
    if not lines or any(word in str(error) for word in advice):
        return type(error).__name__
    return lines[0][:200]
