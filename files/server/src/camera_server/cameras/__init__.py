"""What runs in a camera's own process: nothing here is imported by the server.

The server gives the process its task on standard input and gets framed records
from its standard output. A process of its own means that a hung camera stack can
be killed, and that its memory and threads are never the server's.
"""


class CameraError(Exception):
    """The camera cannot do what was asked; the text says what and why."""
