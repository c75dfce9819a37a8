"""Which cycles each port of a core is taken in. A younger operation may fill a gap that an older one, which waits, has left."""

from __future__ import annotations


class Calendar:
    """Bit k of `taken[port]` is set where the port is busy in cycle k. `load` counts what a port has been given."""

    def __init__(self, n_ports: int) -> None:
        self.taken = [0] * n_ports
        self.load = [0] * n_ports

    def take_first(self, ports: tuple[int, ...], since: int, busy: int) -> int:
        """Takes a port for `busy` cycles, the earliest from cycle `since` on; of several the one with the least load. Returns when."""
        cycle, _, port = min((self._first_free(port, since, busy), self.load[port], port) for port in ports)
        self._take(port, cycle, busy)
        return cycle

    def free(self, ports: tuple[int, ...], cycle: int, busy: int) -> list[int]:
        """Those of `ports` that are free for `busy` cycles from `cycle` on."""
        wanted = ((1 << busy) - 1) << cycle
        return [port for port in ports if not self.taken[port] & wanted]

    def take(self, ports: tuple[int, ...], count: int, cycle: int, busy: int) -> None:
        """Takes `count` free ones of `ports` at `cycle`."""
        for port in self.free(ports, cycle, busy)[:count]:
            self._take(port, cycle, busy)

    def _take(self, port: int, cycle: int, busy: int) -> None:
        self.taken[port] |= ((1 << busy) - 1) << cycle
        self.load[port] += busy

    def _first_free(self, port: int, since: int, busy: int) -> int:
        row = self.taken[port] >> since
        blocked = row
        for later in range(1, busy):  # bit k of `blocked`: one of the cycles k … k + busy - 1 is taken
            blocked |= row >> later
        return since + ((blocked + 1) & ~blocked).bit_length() - 1
