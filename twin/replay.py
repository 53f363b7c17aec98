"""People carried down their canonical events, from a snapshot and what comes after it, block by block."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch

from hybrid.threads import few_threads
from twin.blocks import moves
from twin.clock import Microseconds
from twin.descent import Descent, Job
from twin.filtering import Filtering
from twin.joining import Course, Group, Joints
from twin.log.canonical import Timed
from twin.snapshots import Believed, State


@dataclass(frozen=True)
class Replay:
    """How a twin's people are carried: the filtering of a block, what the model is joined to, the horizon."""

    filtering: Filtering
    joints: Joints
    horizon: Microseconds

    @cached_property
    def _starts(self) -> tuple[bool, ...]:
        return self.filtering.model.starts_from

    def run(self, jobs: Sequence[Job]) -> None:
        """Every job to its end. Law: a job's states are the same, to the bit, whichever jobs stand beside it."""
        # those with as much to do beside each other: a block lasts as long as its longest
        for job in jobs:
            job.replayed = len({one.time for one in job.events})
        size = self.filtering.block - 1  # one row at least is at rest
        order = sorted((job for job in jobs if job.events), key=lambda job: job.replayed)
        for k in range(0, len(order), size):
            self._carried(order[k : k + size])

    def _carried(self, jobs: list[Job]) -> None:
        """A block of people, down all of their events; who is held is carried on from where they start anew."""
        for job in jobs:
            job.found, job.keys = [], {one.time: one.key for one in job.events}
        waiting = [(job, self._groups(job, job.state.course, job.events)) for job in jobs]
        while waiting:
            waiting = self._once(waiting)

    def _groups(self, job: Job, course: Course, events: Sequence[Timed]) -> list[Group]:
        return self.joints.groups(course, events, job.known.mesh)

    def _once(self, work: list[tuple[Job, list[Group]]]) -> list[tuple[Job, list[Group]]]:
        """Once down these groups; what is left to do of those who diverged on the way."""
        starts = self._starts
        states = [job.state for job, _ in work]
        plans = [moves(groups, job.state, starts, self.horizon) for job, groups in work]
        run = Descent(self.filtering, work, plans)
        with torch.inference_mode(), few_threads(0):  # one thread: several share an array anywhere, and round ends otherwise
            run.go()
        left: list[tuple[Job, list[Group]]] = []
        for i, (job, groups) in enumerate(work):
            upto = run.lost.get(i)
            self._settled(job, groups if upto is None else groups[: upto + 1], states[i], run.passed[i])
            if upto is None:
                continue
            last = groups[upto]
            if job.state.belief is None:  # could not start: the next event may
                course = last.course
                unused = sum(int((row == row).sum()) for row in last.rows) + sum(amount > 0.0 for amount in course.arriving)
                still = (0.0,) * len(course.arriving)
                course = replace(course, origin=None, arriving=still, missed=course.missed + unused)
                job.state = State(course, None)
                job.found[-1] = (job.found[-1][0], job.state)
                events = [one for one in job.events if one.time > last.course.time]
                following = self._groups(job, course, events)
            else:
                following = groups[upto + 1 :]
            if following:
                left.append((job, following))
        return left

    def _settled(
        self, job: Job, groups: list[Group], before: State, passed: dict[int, Believed]
    ) -> None:
        """The states after each group, with the belief that the filter had or still has."""
        keep = job.keep([group.course.time for group in groups])
        belief = before.belief
        for k, group in enumerate(groups):
            belief = passed.get(k, belief)
            if k in keep or k == len(groups) - 1:
                job.state = State(group.course, belief)
                job.found.append((job.keys[group.course.time], job.state))

