"""How much the weights change from checkpoint to checkpoint, and which intervals stand out.

A flag says where to look first. It proves nothing: a clean interval can stand out, and a poisoned one can hide.
"""
