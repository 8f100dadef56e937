"""A plan, told to people and programs: text, JSON, Mermaid."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sage.kernel.graph.job_graph import JobGraph
from sage.kernel.graph.transformation import Edge, Partitioning, Transformation
from sage.kernel.operators.guarantee import guarantee_of

__all__ = ["Plan"]

_SIGNS = {
    Partitioning.FORWARD: "forward",
    Partitioning.HASH: "by key",
    Partitioning.REBALANCE: "in turn",
    Partitioning.BROADCAST: "to all",
    Partitioning.ANY: "",
}


@dataclass(frozen=True)
class Plan:
    """The physical plan of a pipeline, which names its logical operators.

    Args:
        job_graph: The pipeline.
        checkpoint_mode: The mode of its checkpoints, from which follows what its sinks guarantee;
            None without checkpoints.
    """

    job_graph: JobGraph
    checkpoint_mode: str | None = None

    def __str__(self) -> str:
        tasks = sum(v.parallelism for v in self.job_graph.vertices)
        lines = [f"{self.job_graph.stream_graph.name}: {tasks} task{'s' if tasks != 1 else ''}"]
        for vertex in self.job_graph.vertices:
            times = f" ×{vertex.parallelism}" if vertex.parallelism > 1 else ""
            lines.append(f"[{vertex.id}] {vertex.name}{times}{self._inputs(vertex.head)}")
            notes = [(t.name, self._note(t)) for t in vertex.transformations]
            lines += [f"    {name}: {note}" for name, note in notes if note]
        return "\n".join(lines)

    def to_json(self) -> str:
        """Return the plan as JSON: operators, edges and the task that each operator runs in."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as dicts and lists."""
        graph = self.job_graph.stream_graph
        return {
            "name": graph.name,
            "operators": [
                {
                    "uid": t.uid,
                    "name": t.name,
                    "kind": t.operator.kind,
                    "parallelism": t.parallelism,
                    "note": self._note(t),
                    "guarantee": guarantee_of(t.operator, self.checkpoint_mode),
                    "task": self.job_graph.vertex_of(t.uid).id,
                }
                for t in graph
            ],
            "edges": [
                {"from": e.upstream, "to": t.uid, "partitioning": e.partitioning.value}
                for e, t in graph.edges()
            ],
        }

    def to_mermaid(self) -> str:
        """Return the plan as a Mermaid flowchart, a box for each task."""
        lines = ["flowchart LR"]
        ids = {t.uid: f"n{i}" for i, t in enumerate(self.job_graph.stream_graph)}
        for vertex in self.job_graph.vertices:
            times = f" ×{vertex.parallelism}" if vertex.parallelism > 1 else ""
            lines.append(f'  subgraph t{vertex.id}["task {vertex.id}{times}"]')
            lines += [f'    {ids[t.uid]}["{self._boxed(t)}"]' for t in vertex.transformations]
            lines.append("  end")
        for edge, to in self.job_graph.stream_graph.edges():
            sign = "" if self._inside(edge, to) else f"|{_SIGNS[edge.partitioning]}|"
            lines.append(f"  {ids[edge.upstream]} -->{sign} {ids[to.uid]}")
        return "\n".join(lines)

    def _inside(self, edge: Edge, to: Transformation) -> bool:
        return edge.upstream in self.job_graph.vertex_of(to.uid)

    def _inputs(self, head: Transformation) -> str:
        if not head.inputs:
            return ""
        graph = self.job_graph.stream_graph
        parts = [f"{graph[e.upstream].name} ({_SIGNS[e.partitioning]})" for e in head.inputs]
        return f"  ← {', '.join(parts)}"

    def _boxed(self, transformation: Transformation) -> str:
        """A name, and under it what people should know."""
        note = self._note(transformation)
        return _escaped(transformation.name) + (f"<br/>{_escaped(note)}" if note else "")

    def _note(self, transformation: Transformation) -> str:
        """What the operator has to say of itself, and why the optimizer chose what it chose."""
        notes = [transformation.operator.note, transformation.note]
        # Without checkpoints all sinks are alike, and nobody has asked.
        if self.checkpoint_mode is not None:
            guarantee = guarantee_of(transformation.operator, self.checkpoint_mode)
            notes.append(f"written {guarantee}" if guarantee is not None else "")
        return "; ".join(note for note in notes if note)


def _escaped(name: str) -> str:
    return name.replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")
