"""lm-eval tasks of DELLA-Merging (arXiv 2406.11617, section 3) and DARE (arXiv 2311.03099, Table 1).

della_gsm8k, della_mbpp, della_alpaca_eval and della_humaneval; della_gsm8k_fixed, and della_gsm8k_dare, della_mbpp_dare
and della_alpaca_eval_dare for the other protocols (eval/tasks/prompts.py). Usable alone:

    DELLA_DATA_DIR=DIR lm_eval --include_path eval/tasks --tasks della_gsm8k --model hf --model_args pretrained=MODEL
"""
