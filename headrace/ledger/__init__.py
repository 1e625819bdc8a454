"""What is on disk: offset ranges, entries, receipts, and how a micro-batch becomes final."""
