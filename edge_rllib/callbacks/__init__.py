"""What watches a run while it goes on: TensorBoard and the progress bar."""
