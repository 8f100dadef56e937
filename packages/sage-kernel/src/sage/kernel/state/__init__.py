"""What keyed operators remember, and how keys are spread over subtasks.

Layout: ``key_group`` (the stable hash, the 128 groups, which types can be keys).
"""
