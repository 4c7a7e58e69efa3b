"""What no policy can beat: bounds on the figures of a world, and exact optima of tiny ones."""
