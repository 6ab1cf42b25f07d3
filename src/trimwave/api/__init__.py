"""From Python: `tw.run`, `tw.compare`, `tw.plan`; the command line calls them too."""
