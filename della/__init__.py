"""DELLA-Merging and the methods it is compared with: experts, deltas, prune, elect, fuse, records, tables."""
