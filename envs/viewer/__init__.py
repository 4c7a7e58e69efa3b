"""Looking at a world: what happened, recorded as plain arrays, and pictures of it as pixels, text and a page."""
