"""The ways to compute a convolution and its gradients, and which of them is fast for which."""
