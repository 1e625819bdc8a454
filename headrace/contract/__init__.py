"""What a pipeline promises: its file, its fields, its filter, and the verdict each record gets."""
