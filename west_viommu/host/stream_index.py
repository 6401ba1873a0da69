# SPDX-License-Identifier: Apache-2.0
"""Which masters have a stream ID."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import accumulate

from west_viommu.host.inventory import Master
from west_viommu.host.streams import StreamId, map_intervals


class StreamIndex:
    """The stream IDs of `masters`, which stand in tree order."""

    def __init__(self, masters: Iterable[Master]):
        self._masters = tuple(masters)

    def owners(
        self, stream_id: StreamId, on: Callable[[str], bool], *, maps: bool = True
    ) -> Iterator[tuple[Master, str]]:
        """Each master with the ID, by its `iommus` or (`maps`) by its iommu-map, and the IOMMU on
        which it has it, of those IOMMUs whose path is one to look `on`. One after the other, and
        perhaps one twice: thousands may have one ID.
        """
        for iommu, masters in self._listed.get(stream_id, {}).items():
            if on(iommu):
                for master in masters:
                    yield master, iommu
        for iommu, spans in self._mapped.items() if maps else ():
            if on(iommu):
                for master in spans.around(stream_id):
                    yield master, iommu

    @cached_property
    def _listed(self) -> dict[StreamId, dict[str, list[Master]]]:
        """The masters that list an ID in their `iommus`, by IOMMU."""
        found: dict[StreamId, dict[str, list[Master]]] = {}
        for master in self._masters:
            for stream in master.streams:
                if stream.id is not None:
                    found.setdefault(stream.id, {}).setdefault(stream.iommu, []).append(master)
        return found

    @cached_property
    def _mapped(self) -> dict[str, _Spans]:
        """The IDs that the iommu-maps give out, by IOMMU."""
        found: dict[str, list[tuple[int, int, Master]]] = {}
        for master in self._masters:
            for entry in master.maps:
                for first, last in map_intervals(entry, master.map_mask):
                    found.setdefault(entry.iommu, []).append((first, last, master))
        return {iommu: _Spans(spans) for iommu, spans in found.items()}


class _Spans:
    """Intervals of IDs, and whose each is."""

    def __init__(self, spans: list[tuple[int, int, Master]]):
        # They are searched backwards: so those that begin alike come out in tree order.
        self._spans = sorted(reversed(spans), key=lambda span: span[0])
        self._firsts = [first for first, _, _ in self._spans]
        # Up to where this one and all before it reach.
        self._reach = list(accumulate((last for _, last, _ in self._spans), max))

    def around(self, stream_id: StreamId) -> Iterator[Master]:
        """The masters of the intervals with `stream_id`."""
        at = bisect_right(self._firsts, stream_id) - 1
        while at >= 0 and self._reach[at] >= stream_id:
            _, last, master = self._spans[at]
            if last >= stream_id:
                yield master
            at -= 1
