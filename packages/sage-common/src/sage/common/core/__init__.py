"""What a function is, and what it may ask of the runtime that hosts it.

Layout: ``functions`` (the classes users subclass), ``context`` (the protocol of the runtime
context). The engine itself is not here but in ``sage.kernel``.
"""
