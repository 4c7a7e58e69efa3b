"""The lander over the moon: for comparison with published curves of policy gradients."""
