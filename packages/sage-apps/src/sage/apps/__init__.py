"""Finished applications built with SAGE.

Document intelligence, video understanding and others will live here, each a pipeline with its own
entry point in the group `sage.apps`. Nothing but the version is here yet.
"""
