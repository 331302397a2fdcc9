"""Tables from run records: Table 1 beside the paper's, pruning, epsilon, seeds, experts; Markdown, LaTeX, CSV."""
