"""Pipeline files on the kernel."""

from __future__ import annotations

from sage.middleware.pipelines import build_pipeline, load_pipeline


def test_a_pipeline_file_runs(pipeline_file):
    """The records of the source go through the steps, in order, into the sink."""
    path = pipeline_file(
        """\
source: {use: test_numbers, with: {count: 5}}
steps:
  - map: {use: test_times, with: {factor: 10}, name: tenfold}
  - filter: {use: test_at_least, with: {minimum: 20}}
sink: {use: test_lines, with: {path: "${here}/out.txt"}}
"""
    )
    env = build_pipeline(load_pipeline(path))
    assert "tenfold" in str(env.explain())
    env.execute()
    assert (path.parent / "out.txt").read_text(encoding="utf-8") == "20\n30\n40\n"


def test_a_pipeline_file_can_ask_for_checkpoints(pipeline_file, capsys):
    """It goes on where it was: run again after its end, it does nothing again."""
    path = pipeline_file(
        "source: {records: [1, 2]}\n"
        'sink: {use: test_lines, with: {path: "${here}/out.txt"}, uid: lines}\n'
        'fault_tolerance: {checkpoint_dir: "${here}/checkpoints"}\n'
    )
    env = build_pipeline(load_pipeline(path))
    assert env.graph()["lines"].name == "test_lines"
    env.execute()
    assert (path.parent / "checkpoints").is_dir()
    again = build_pipeline(load_pipeline(path)).execute()
    assert again.metrics["test_lines"].received == 2, "as many as before, not twice"
    assert "has been run to its end" in capsys.readouterr().err


def test_records_of_the_file_run(pipeline_file):
    """Records that stand in the file are a source like any other."""
    path = pipeline_file(
        "source: {records: [1, 2]}\n"
        "steps: [{map: {use: test_times, with: {factor: 3}}}]\n"
        'sink: {use: test_lines, with: {path: "${here}/out.txt"}}\n'
    )
    build_pipeline(load_pipeline(path)).execute()
    assert (path.parent / "out.txt").read_text(encoding="utf-8") == "3\n6\n"
