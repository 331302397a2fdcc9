"""A sweep that searches: spaces, the shared study, trials that are stopped early, and what is reported of them."""
