"""Policies that leave the training: a folder with an ONNX graph and arrays that NumPy alone can follow.

``edge_rllib.export.numpy_policy`` loads neither torch nor Ray nor onnxruntime; ``edge_rllib.export.loading`` takes
onnxruntime where it is installed.
"""
