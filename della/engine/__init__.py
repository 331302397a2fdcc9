"""The CPU engine: merges a model block by block, in threads, through the kernels of della.kernels.

    prepare   what a tensor is merged with, as the arrays that the kernels take
    survey    what must be known of a whole delta first: TIES's cut, L1 norms, sorted magnitudes
    blocks    one block: where its inputs lie, its scratch memory, the kernel call
    run       the order of it all: tensors in sequence, blocks in threads, results handed on

Memory: a few blocks per thread; whole-tensor ranks (rank_over=tensor) two bytes more per parameter and expert of the
tensors in work; nothing grows with the model. torch is imported only for a method without a kernel.
"""
