"""What a function is, and what it may ask of the runtime that hosts it.

Layout: ``functions`` (the classes users subclass), ``context`` (the protocol of the runtime
context), ``state`` (what a function declares of keyed state, and the handles it gets). The engine
itself is not here but in ``sage.kernel``.
"""
