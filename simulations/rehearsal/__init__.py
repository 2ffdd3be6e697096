"""A live federation on one machine: a real server and real devices, compared with the simulation.

Nothing is simulated in it: the processes are those that an operator and the owners of devices start,
``fedvoice serve`` and ``fedvoice join``. The rehearsal starts them all, watches them, and ends them.
"""
