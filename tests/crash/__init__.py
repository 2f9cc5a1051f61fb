"""Processes that are killed and stopped, on a real disk and real sockets, judged by the emulator's ledger.

A life is one process that works on a journal; a history is a chain of lives on one journal, all killed but the last.
`nursery` starts lives quickly, `life` is what one does, `points` are the places where it can be made to die,
`histories` runs chains and judges them, `crowd` kills one process with many jobs, `pair` lets two processes share a
journal, and `restart` opens a large one. `python tests/crash/__main__.py --help` runs any of them at any size.
"""
