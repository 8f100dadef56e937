"""What became of every record: ``fates`` (the counts), ``snapshot`` (the metrics of a job)."""
