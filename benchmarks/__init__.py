"""Each kernel beside its peers, as ratios of times taken in one run: ``make bench``."""
