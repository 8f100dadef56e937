"""Checkpoints: one consistent cut through a running job, written so that it survives its process.

``operator_state`` is what every operator says and takes back; ``barrier`` and ``coordinator`` make
the cut; ``storage`` keeps it; ``journal`` remembers results that are too dear to ask for twice.
"""
