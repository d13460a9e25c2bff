"""What a model has learned about groups of people: published sets, measured by likelihood, group by group.

The measures are tasks like any other (``lavra evaluate --tasks bias``), so that they have intervals, are kept and are
compared before and after; ``check.py`` makes them a check of ``lavra tune``. What they can say is limited, and said
where they are shown: each looks at a few stereotypes of one country in made-up sentences (Blodgett et al. 2021 found
many of CrowS-Pairs' flawed), and a model that shows nothing here is not thereby shown to be fair.
"""
