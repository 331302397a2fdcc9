"""The tiny family: a base Llama and its LM, Math and Code experts, trained from nothing on the CPU in minutes.

Stands in for the 13B experts of DELLA-Merging, section 4, so that the whole pipeline runs without a download or a GPU.

    from della.tiny.family import build_family
    from della.tiny.recipe import RECIPES
    family = build_family(Path(".work/experts"), seed=0, recipe=RECIPES["full"])
"""
