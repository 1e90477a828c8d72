"""Pages of the guest that come and go during runs: of the heap, of a stack that grows, of slots that are freed."""

from __future__ import annotations

from typing import Any, Protocol

import unicorn

_READ_WRITE = unicorn.UC_PROT_READ | unicorn.UC_PROT_WRITE


class PageMirror(Protocol):
    """Another process that has the guest's memory at the same addresses."""

    def map(self, address: int, size: int) -> int:
        """Give both pages at an address. Returns where they lie in the host's memory."""
        ...

    def unmap(self, address: int, size: int) -> None:
        """Take pages away that `map` gave."""
        ...

    def show(self, address: int, size: int) -> None:
        """Map pages again that were hidden."""
        ...

    def hide(self, address: int, size: int) -> None:
        """Let each access to pages fault."""
        ...


class GuestPages:
    """Maps and unmaps pages of a guest, in whole pages."""

    def __init__(self, uc: Any) -> None:
        self._uc = uc
        self.mirror: PageMirror | None = None
        """Where the candidate's code runs, if it is not the emulator that runs it."""

    def map(self, address: int, size: int) -> None:
        """Map new pages that can be read and written."""
        if self.mirror:
            self._uc.mem_map_ptr(address, size, _READ_WRITE, self.mirror.map(address, size))
        else:
            self._uc.mem_map(address, size, _READ_WRITE)

    def unmap(self, address: int, size: int) -> None:
        """Unmap pages that `map` has mapped."""
        self._uc.mem_unmap(address, size)
        if self.mirror:
            self.mirror.unmap(address, size)

    def show(self, address: int, size: int, permissions: int, pointer: int) -> None:
        """Map a piece of the host's memory, for the first time or again."""
        self._uc.mem_map_ptr(address, size, permissions, pointer)
        if self.mirror:
            self.mirror.show(address, size)

    def hide(self, address: int, size: int) -> None:
        """Unmap what `show` has mapped."""
        self._uc.mem_unmap(address, size)
        if self.mirror:
            self.mirror.hide(address, size)
