"""An inaudible mark that says that speech is synthetic: how it is put in, and how it is found.

The networks are those of Resemble AI's PerTh (package ``resemble-perth``, MIT), of which only the weights are read, so
that its own detector finds the mark too. The package itself gives None in place of its watermarker where one of its
undeclared dependencies is missing (``pkg_resources``, librosa, PyYAML), and whoever goes on then speaks unmarked.
"""
