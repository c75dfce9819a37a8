"""`python -m edgeds` is `edgeds`."""

from edgeds.cli import main

main()
