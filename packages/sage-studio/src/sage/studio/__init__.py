"""The SAGE web UI.

The pipeline canvas, live monitoring and chat will live here, drawn from the job handle and the
registry like every other front of SAGE. Nothing but the version is here yet.
"""
