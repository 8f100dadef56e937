"""Time in the engine: the processing-time clock, watermarks of event time, timers.

Layout:
    clock      processing time, which a test can drive by hand
    watermark  how far event time has come, over several inputs
    timer      what waits for a point in time
"""
