"""Search that wastes nothing: prompts in one random order, and when a trial is stopped before it has seen them all."""
