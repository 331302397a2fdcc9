"""The parts of scripts.compare: its options, the runs it reads, what it prints, and the texts behind the prompts."""
