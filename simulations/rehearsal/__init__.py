"""A live federation on one machine: a real server and real devices, compared with the simulation.

Nothing here stands in for anything: the processes are those that an operator and the owners of devices start,
``fedvoice serve`` and ``fedvoice join``. What is added is that somebody starts them all, watches, and ends them.
"""
