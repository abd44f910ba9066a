"""Tables from run records; reads records only."""
