"""objectives: what a model is trained for. An objective makes a batch of examples and says what it loses on it; it
never knows the loop that calls it (``training``).

``objective.py`` has the two methods and the batch, ``packing.py`` puts texts into rows. One objective a file.
"""
