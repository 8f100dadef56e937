"""What keyed operators remember, and how keys are spread over subtasks.

Layout:
    key_group       the stable hash, the 128 groups, which types can be keys
    stored_key      the one form in which equal keys are stored
    codec           values to bytes and back, with their types
    own_classes     which classes a stored value may come back as
    array_codec     NumPy arrays and scalars as stored values
    backend         the protocol of what keeps state: tables, snapshots by key group
    heap_backend    in memory
    sqlite_backend  on disk
    sqlite_rows     how keys and values are written in its rows
    sqlite_table    its tables, with their write-behind cache
    sqlite_snapshot its snapshots
    keyed_state     what an operator holds: the current key, and a handle for each descriptor
    handles         the handles of state that stays
    ttl             the handles of state that expires
"""
