"""Input activations of experts, for rankings by WANDA's scores: options, texts, and the files they are kept in."""
