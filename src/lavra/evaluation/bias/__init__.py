"""What a model has learned about groups of people, measured by likelihood and by what it writes, group by group.

The published sets are tasks like any other (``lavra evaluate --tasks bias``), so that they have intervals, are kept and
are compared before and after; ``check.py`` makes them a check of ``lavra tune``. ``lavra bias`` needs no harness:
associations, StereoSet, what a model writes of whom, and data with both genders. What they can say is limited, and said
where they are shown: each looks at a few stereotypes of one country in made-up sentences (Blodgett et al. 2021 found
many of CrowS-Pairs' flawed), and a model that shows nothing here is not thereby shown to be fair.
"""
