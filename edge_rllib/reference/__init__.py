"""What others published or shipped: their configurations as scenarios of ours, their figures beside ours."""
