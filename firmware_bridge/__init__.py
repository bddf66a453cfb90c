"""On board: links to flight controllers, their protocols, and the simulated flight controller."""
