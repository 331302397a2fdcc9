"""lm-eval tasks della_gsm8k, della_mbpp and della_alpaca_eval (DELLA-Merging, arXiv 2406.11617, section 3).

Usable alone:

    DELLA_DATA_DIR=DIR lm_eval --include_path eval/tasks --tasks della_gsm8k --model hf --model_args pretrained=MODEL
"""
