"""Judges behind an OpenAI-compatible endpoint: AlpacaEval's pairwise annotators, and the DELLA paper's for GSM8K.

settings.py   what can be chosen about an endpoint
endpoint.py   one request at a time to it: limits, retries, what its answers mean
ledger.py     tokens and cost: the estimate before, the account after
panel.py      many questions in parallel; every answer is on the disk before it counts
pairwise.py   AlpacaEval 1.0 and 2.0 through the alpaca_eval package's own annotators
length.py     AlpacaEval's length-controlled win rate, where its data is at hand
gsm8k.py      whether a GSM8K answer is right, by the paper's protocol
"""
