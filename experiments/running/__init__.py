"""From a command line to a run's report, and back from its folder: what every command shares."""
