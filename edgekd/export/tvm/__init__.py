"""Every TVM call of EdgeKD is in this folder.

`compile` builds a library, `library` finds the one to measure, `tracker` finds boards, and `remote` runs it on one.
"""
