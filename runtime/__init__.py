"""On board: tick loop, planner, shield, recorder and the command line."""
