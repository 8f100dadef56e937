"""Hosts tasks in Ray actors, one for each subtask.

Operators, chains, tasks and channels are those of the local runtime: an actor runs a `LocalRun` of
a single task, and differs from it only in its wiring, which sends batches to other actors.

Ray is imported here and nowhere else, and only when a pipeline runs.

Layout:
    cluster    starting Ray, or using what is there
    placement  what an actor asks of the cluster, and why it cannot be had
    shipping   a plan cut into what each vertex needs, and refused where it cannot travel
    wiring     channels between actors, with credits
    actor      the shell around one task
    pool       actors that wait for their next task
    news       what tasks say to the coordinator of checkpoints
    results    brings the records of ``collect`` home
    failures   errors on their way between processes
    silence    how long actors have not been heard
    plan       what the driver reads from a plan
    run        places, watches and ends the actors of one job
    runtime    what an environment holds
"""
