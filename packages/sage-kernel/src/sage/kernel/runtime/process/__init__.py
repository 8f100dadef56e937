"""Worker processes for ``executor="process"``: work that one interpreter cannot share.

Layout:
    host        the parent's side: what a task feeds and takes results from
    connection  its end of the socket: sends, listens, notices that the worker is gone
    live        stands in the task for the operator, and checks at submit that it can travel
    portable    whether a function can travel
    under_way   the records that a worker has
    launch      starts a worker, and tells how one ended
    protocol    what the two sides say to each other, over a socket that only they have
    worker      the worker's side: the operator's own loop, in a process of its own
    attendant   its second thread, at the socket
    reporter    what it tells its parent
"""
