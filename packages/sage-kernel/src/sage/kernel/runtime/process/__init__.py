"""Worker processes for ``executor="process"``: work that one interpreter cannot share.

Layout:
    host       the parent's side: what a task feeds and takes results from
    launch     starts a worker, and tells how one died
    portable   whether a function can travel, refused at submit if not
    protocol   what the two sides say to each other, over a socket that only they have
    worker     the worker's side: the operator's own loop, in a process of its own
"""
