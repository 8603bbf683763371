"""Pictures as data sets: decoded once or on demand, from folders, archives and prepared sets."""
